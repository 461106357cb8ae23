//! `ClusterLinkService`: one bidirectional stream is one session of a cluster.
//!
//! Whose session it is follows from the key that the call proves. Its first message must say the same; a message that says
//! otherwise ends the stream.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use edgeio_domain::ids::ChildId;
use edgeio_link::convert;
use edgeio_proto::{
    link::v1::{ChildMessage, child_message::Message},
    root::v1::{
        AttachRequest, AttachResponse, RegisterRequest, RegisterResponse,
        cluster_link_service_server::ClusterLinkService,
    },
};
use edgeio_server::{
    auth::{Denial, Denials, Principal, PrincipalKind, principal},
    shutdown::Shutdown,
    status::{Classify, Kind, status},
};
use edgeio_tier::{
    api::open,
    context::Context,
    loops::Inbound,
    machines::{Caller, caller},
};
use futures::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use super::{Streams, register};

/// The method, as the audit names it.
const ATTACH: &str = "/edgeio.root.v1.ClusterLinkService/Attach";

/// Why a stream is no session.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    /// It does not say whose it is.
    #[error("the first message of Attach must be a hello with the cluster's id")]
    NoHello,
    /// It says another's id than its key is of.
    #[error(
        "the key of this call is that of cluster {own}, not of {claimed}: a cluster cannot speak for another one"
    )]
    OtherId {
        /// Whose key it is.
        own: ChildId,
        /// What the message says.
        claimed: ChildId,
    },
    /// The key is not known.
    #[error("this cluster's key is not known here: it must register first")]
    Unknown,
}

impl Classify for AttachError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoHello => Kind::InvalidInput,
            Self::OtherId { .. } | Self::Unknown => Kind::Forbidden,
        }
    }
    fn reason(&self) -> &'static str {
        match self {
            Self::NoHello => "HELLO_MISSING",
            Self::OtherId { .. } => "CLUSTER_ID_FOREIGN",
            Self::Unknown => "CLUSTER_UNKNOWN",
        }
    }
}

/// The service.
pub struct ClusterLink {
    context: Context,
    denials: Arc<dyn Denials>,
    inbound: Inbound,
    streams: Streams,
    stop: Shutdown,
    numbers: AtomicU64,
}

impl ClusterLink {
    /// The service over the root's parts.
    #[must_use]
    pub fn new(
        context: Context,
        denials: Arc<dyn Denials>,
        inbound: Inbound,
        streams: Streams,
        stop: Shutdown,
    ) -> Self {
        Self {
            denials,
            context,
            inbound,
            streams,
            stop,
            numbers: AtomicU64::new(0),
        }
    }
}

/// What goes down a stream.
type Down = mpsc::Receiver<Result<AttachResponse, Status>>;

#[tonic::async_trait]
impl ClusterLinkService for ClusterLink {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let (who, request) = open(request)?;
        register::register(&self.context, &who, request)
            .await
            .map(Response::new)
    }

    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let who = principal(&request)?.clone();
        let caller = caller(&who, PrincipalKind::Cluster);
        let own = match caller.map_err(|error| status(&error))? {
            Caller::Known(id) => Some(id),
            Caller::Key { .. } => return Err(status(&AttachError::Unknown)),
            Caller::Operator => None,
        };
        let reader = Reader {
            own,
            who,
            denials: self.denials.clone(),
            inbound: self.inbound.clone(),
            streams: self.streams.clone(),
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
        };
        let (announce, first) = oneshot::channel();
        tokio::spawn(reader.read(request.into_inner(), announce));
        let down = answers(first);
        Ok(Response::new(Box::pin(self.stop.end(down))))
    }
}

/// Reads one cluster's stream.
struct Reader {
    /// Whose key opened the stream; `None` for an operator, whose first message says it.
    own: Option<ChildId>,
    who: Principal,
    denials: Arc<dyn Denials>,
    inbound: Inbound,
    streams: Streams,
    number: u64,
}

impl Reader {
    async fn read(
        self,
        mut up: Streaming<AttachRequest>,
        announce: oneshot::Sender<Result<Down, Status>>,
    ) {
        // The stream belongs to the child that its first message names; the answer must not wait for that message.
        let first = loop {
            match up.message().await {
                Ok(Some(request)) => match request.message {
                    Some(message) => break message,
                    None => continue,
                },
                Ok(None) | Err(_) => return,
            }
        };
        let id = match self.owner(&first) {
            Ok(id) => id,
            Err(error) => {
                let _ = announce.send(Err(status(&error)));
                self.denied(&error);
                return;
            }
        };
        info!(cluster = %id, "cluster attached");
        let _ = announce.send(Ok(self.streams.add(id, self.number)));
        let mut next = Some(first);
        while let Some(message) = next {
            if let Err(error) = still(id, &message) {
                self.streams.end(id, self.number, status(&error));
                self.denied(&error);
                break;
            }
            if self.inbound.send((id, message)).await.is_err() {
                break;
            }
            next = loop {
                match up.message().await {
                    Ok(Some(request)) if request.message.is_none() => continue,
                    Ok(Some(request)) => break request.message,
                    Ok(None) | Err(_) => break None,
                }
            };
        }
        debug!(cluster = %id, "cluster detached");
        self.streams.remove(id, self.number);
    }

    /// The refusal of a stream that had begun: the chassis only sees those before.
    fn denied(&self, error: &AttachError) {
        self.denials.denied(Denial {
            who: self.who.clone(),
            method: ATTACH.to_owned(),
            why: error.to_string(),
        });
    }

    /// Whose session it is.
    fn owner(&self, first: &ChildMessage) -> Result<ChildId, AttachError> {
        let Some(Message::Hello(hello)) = &first.message else {
            return Err(AttachError::NoHello);
        };
        let claimed = convert::id::<ChildId>("child_id", &hello.child_id);
        let claimed = claimed.map_err(|_| AttachError::NoHello)?;
        let own = self.own.unwrap_or(claimed);
        still(own, first)?;
        Ok(own)
    }
}

/// Whether a message does not say that it is of another child.
fn still(own: ChildId, message: &ChildMessage) -> Result<(), AttachError> {
    let Some(Message::Hello(hello)) = &message.message else {
        return Ok(());
    };
    let claimed = convert::id::<ChildId>("child_id", &hello.child_id);
    let claimed = claimed.map_err(|_| AttachError::NoHello)?;
    if claimed == own {
        return Ok(());
    }
    warn!(cluster = %own, %claimed, "cluster claims to be another one");
    Err(AttachError::OtherId { own, claimed })
}

/// The answers, once it is known whose they are.
fn answers(
    first: oneshot::Receiver<Result<Down, Status>>,
) -> impl Stream<Item = Result<AttachResponse, Status>> + Send {
    use futures::{StreamExt as _, future, stream};
    stream::once(first).flat_map(|found| match found {
        Ok(Ok(receiver)) => ReceiverStream::new(receiver).boxed(),
        Ok(Err(refused)) => stream::once(future::ready(Err(refused))).boxed(),
        Err(_) => stream::once(future::ready(Err(status(&AttachError::NoHello)))).boxed(),
    })
}
