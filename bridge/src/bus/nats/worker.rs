//! The worker's end of the bus over NATS.

use async_trait::async_trait;
use edgeio_proto::link::v1::{ChildMessage, ParentMessage};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::codec::{channel_of, decode_down, encode};
use super::super::{BusEvents, ConnectError, Dial, Pass, PublishError, WorkerBus};
use super::connection::Connection;
use super::events::events;
use super::options::Role;
use crate::subject::Subject;

/// Connects with [`NatsWorkerBus::connect`].
#[derive(Debug, Clone, Copy, Default)]
pub struct NatsDial;

#[async_trait]
impl Dial for NatsDial {
    async fn dial(
        &self,
        address: &str,
        cluster: Uuid,
        worker: Uuid,
        pass: &Pass,
    ) -> Result<(Box<dyn WorkerBus>, BusEvents<ParentMessage>), ConnectError> {
        let (bus, events) = NatsWorkerBus::connect(address, cluster, worker, pass).await?;
        Ok((Box::new(bus), events))
    }
}

/// One worker's connection to the broker. It closes when it and its events are dropped.
pub struct NatsWorkerBus {
    connection: Connection,
    cluster: Uuid,
    worker: Uuid,
}

impl NatsWorkerBus {
    /// Starts to connect to the broker at `address` (`host:port`, or with `nats://` or `tls://` before it) as
    /// `worker` of `cluster`, and shows `pass`. Returns at once: the events tell when the broker is reached.
    ///
    /// # Errors
    /// [`ConnectError`], for an address that has no meaning. A broker that does not answer is none.
    pub async fn connect(
        address: &str,
        cluster: Uuid,
        worker: Uuid,
        pass: &Pass,
    ) -> Result<(Self, BusEvents<ParentMessage>), ConnectError> {
        let name = format!("edgeio-worker {worker}");
        let connection = Connection::open(address, worker, &name, &Role::Worker, pass).await?;
        let subject = Subject::control(cluster, worker).to_string();
        // Queued before the connection is there: the subscription is the first thing that the broker hears, and so
        // is in place before anything is published.
        let control = connection
            .client()
            .subscribe(subject.clone())
            .await
            .map_err(|_| ConnectError::Subscribe { subject })?;
        let events = events(
            connection.clone(),
            vec![control],
            CancellationToken::new(),
            |message| decode_down(&message.payload),
        );
        Ok((
            Self {
                connection,
                cluster,
                worker,
            },
            events,
        ))
    }

    fn subject(&self, message: &ChildMessage) -> Subject {
        Subject {
            cluster: self.cluster,
            worker: self.worker,
            channel: channel_of(message),
        }
    }
}

#[async_trait]
impl WorkerBus for NatsWorkerBus {
    async fn publish(&self, message: &ChildMessage) -> Result<(), PublishError> {
        let subject = self.subject(message);
        let payload = encode(message, &subject)?;
        self.connection.publish(&subject, payload).await
    }

    async fn flush(&self) -> Result<(), PublishError> {
        self.connection
            .flush(&Subject::report(self.cluster, self.worker))
            .await
    }
}
