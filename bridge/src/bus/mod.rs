//! The bus: how workers and bridges exchange the link's messages through a broker.
//!
//! The traits are the seam; [`nats`] implements them, and `chaos`, which only tests have, disturbs whatever implements them. The promise is at most once and nothing more:
//! messages may be lost at any time, nothing is sent again after a reconnect, and the link above makes up for
//! it. What is known of a loss is told as an event. Deliberately absent: queues, retries, acknowledgements.

#[cfg(feature = "chaos")]
pub mod chaos;
mod codec;
pub mod nats;
mod pass;

pub use codec::{decode_down, decode_up};

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use edgeio_proto::link::v1::{ChildMessage, ParentMessage};
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use pass::Pass;

use crate::subject::ParseSubjectError;

/// Largest encoded message, in bytes. The link's chunks stay below it (a spec is 48 KiB at most); the broker's own
/// limit is four times that, so a message that this library lets pass never costs a worker its connection.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// What a bus tells its user. The first event is always [`BusEvent::Connected`] or [`BusEvent::Disconnected`].
#[derive(Debug, Clone, PartialEq)]
pub enum BusEvent<M> {
    /// A message arrived.
    Message(M),
    /// The broker is reached. Subscriptions are in place: what is published now finds an answer.
    Connected,
    /// The broker is not reached, or was not for a moment: messages may have been lost.
    Disconnected,
    /// The connection was made anew with another pass: messages may have been lost meanwhile.
    Renewed,
    /// The broker does not take the pass that is shown, or no longer: another one is needed.
    Refused,
    /// Messages arrived faster than they were taken and were thrown away: ask for the state again.
    Lost {
        /// Messages lost since the last such event; there may be more.
        at_least: u64,
    },
    /// Something arrived that is no message. It is dropped.
    Malformed {
        /// Where it arrived.
        subject: String,
        /// What is wrong with it.
        why: Malformed,
    },
}

/// Events of a bus, in order. It ends when the bus is closed for good.
pub type BusEvents<M> = BoxStream<'static, BusEvent<M>>;

/// What a bridge hears.
#[derive(Debug, Clone, PartialEq)]
pub struct FromWorker {
    /// Who says it, by the subject: the broker lets a worker publish on its own subjects only.
    pub worker: Uuid,
    /// It is a sample, by the subject: the newest one replaces those before.
    pub sample: bool,
    /// What it says: an encoded `ChildMessage`, checked and left as it came, with whatever a newer worker put in.
    pub payload: Bytes,
}

/// The worker's side.
#[async_trait]
pub trait WorkerBus: Send + Sync {
    /// Publishes a message on the channel that is its kind's.
    ///
    /// # Errors
    /// [`PublishError`]; nothing is kept to be sent later.
    async fn publish(&self, message: &ChildMessage) -> Result<(), PublishError>;

    /// Waits until the broker has taken what was published, for a graceful end.
    ///
    /// # Errors
    /// [`PublishError::Disconnected`] and [`PublishError::Stalled`].
    async fn flush(&self) -> Result<(), PublishError>;
}

/// How a worker gets its side.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Starts to connect to the broker at `address` as `worker` of `cluster`, and shows `pass`. Returns at once: the events tell
    /// when the broker is reached.
    ///
    /// # Errors
    /// [`ConnectError`], for an address that has no meaning. A broker that does not answer is none.
    async fn dial(
        &self,
        address: &str,
        cluster: Uuid,
        worker: Uuid,
        pass: &Pass,
    ) -> Result<(Box<dyn WorkerBus>, BusEvents<ParentMessage>), ConnectError>;
}

/// The bridge's side.
#[async_trait]
pub trait BridgeBus: Send + Sync {
    /// The public nkey that the bridge's pass is to be for.
    fn public_key(&self) -> String;

    /// Shows this pass from now on.
    fn present(&self, jwt: &str);

    /// Tells the broker of the account as it is now, as the user that `user` lets in.
    ///
    /// # Errors
    /// [`AccountError`]; the broker goes by what it was told before.
    async fn tell_account(&self, account: &str, user: &str) -> Result<(), AccountError>;

    /// Joins the bridges that share what the workers of `cluster` say. Once `leave` is cancelled the others get
    /// what comes; the events end after those that had already come here.
    ///
    /// # Errors
    /// [`JoinError`] when the bus is closed for good.
    async fn join(
        &self,
        cluster: Uuid,
        leave: CancellationToken,
    ) -> Result<BusEvents<FromWorker>, JoinError>;

    /// Tells one worker of `cluster` something: an encoded `ParentMessage`, which is passed on as it is.
    ///
    /// # Errors
    /// [`PublishError`]; nothing is kept to be sent later.
    async fn control(
        &self,
        cluster: Uuid,
        worker: Uuid,
        payload: Bytes,
    ) -> Result<(), PublishError>;
}

/// A broker's address cannot be used. A broker that does not answer is no error: it may come.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address has no meaning.
    #[error("read the broker's address `{address}`")]
    Address {
        /// As it was given.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client refuses its options.
    #[error("set up the connection to the broker at `{address}`")]
    Client {
        /// As it was given.
        address: String,
        /// Why.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The first subscription could not be queued: the client's task is gone.
    #[error("subscribe to `{subject}`: the client is closed")]
    Subscribe {
        /// What was subscribed to.
        subject: String,
    },
}

/// The broker was not told of an account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is not reached, or lets the user not in.
    #[error("connect to the broker's system account")]
    Connect(#[source] async_nats::ConnectError),
    /// It does not answer.
    #[error(
        "the broker does not answer: it may have no system account, which `edgeio-cluster nats-config` gives it"
    )]
    Silent(#[source] async_nats::RequestError),
    /// It answers that it does not take it.
    #[error("the broker answers `{0}`")]
    Refused(String),
}

/// A bridge could not join its queue group.
#[derive(Debug, thiserror::Error)]
#[error("subscribe to `{subject}`: the client is closed")]
pub struct JoinError {
    /// What was subscribed to.
    pub subject: String,
}

/// A message was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It is larger than [`MAX_PAYLOAD`].
    #[error(
        "publish on `{subject}`: {size} bytes are more than the {MAX_PAYLOAD} that a message may have"
    )]
    TooLarge {
        /// Where it was to go.
        subject: String,
        /// Bytes.
        size: usize,
    },
    /// The broker is not reached.
    #[error("publish on `{subject}`: the broker is not reached")]
    Disconnected {
        /// Where it was to go.
        subject: String,
    },
    /// The broker does not read.
    #[error("publish on `{subject}`: the broker has taken nothing for {waited:?}")]
    Stalled {
        /// Where it was to go.
        subject: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The client is closed for good.
    #[error("publish on `{subject}`: the client is closed")]
    Closed {
        /// Where it was to go.
        subject: String,
    },
}

/// What is wrong with something that arrived.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// It is larger than [`MAX_PAYLOAD`].
    #[error("{size} bytes are more than the {MAX_PAYLOAD} that a message may have")]
    TooLarge {
        /// Bytes.
        size: usize,
    },
    /// Its subject is not one of ours.
    #[error(transparent)]
    Subject(#[from] ParseSubjectError),
    /// It is no message.
    #[error("it does not decode: {0}")]
    Undecodable(prost::DecodeError),
    /// It is a message without content, or, at a worker, of a kind that this version does not know.
    #[error("it says nothing that this version knows")]
    Empty,
    /// It does not belong on its channel.
    #[error("it does not belong on this channel")]
    Misplaced,
    /// It names another worker than its subject does.
    #[error("it names worker `{claimed}`, who does not publish here")]
    Foreign {
        /// The worker that it names.
        claimed: String,
    },
}
