//! `BridgeService`: a bridge's stream. It is no child's session: many bridges may be attached, and losing one loses
//! nothing but time.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use edgeio_domain::ids::ChildId;
use edgeio_link::convert;
use edgeio_proto::cluster::v1::{
    AttachRequest, AttachResponse, BridgeHello, BridgeWelcome, JoinRequest, JoinResponse,
    attach_request, attach_response, bridge_service_server::BridgeService,
};
use edgeio_server::{
    auth::{PrincipalKind, principal},
    shutdown::Shutdown,
    status::{Classify, Kind, status},
    warn_seldom,
};
use edgeio_tier::{
    api::open,
    context::Context,
    hub::Hub,
    loops::{Inbound, Outlet as _},
    machines::{Caller, NotForYou, caller},
};
use futures::{Stream, StreamExt as _, future, stream};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{
    Bridges,
    join::{self, BridgeError},
    passes::Keeper,
};
use crate::broker::{MintError, Passes};

/// How long a bridge may take to say who it is; it says it with the call.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts to tell a broker who is revoked.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// A bridge is not let in for what it says first.
#[derive(Debug, thiserror::Error)]
enum Unheard {
    /// It says something else, or nothing.
    #[error("the first message of a bridge is its hello")]
    NoHello,
    /// No pass can be made for it.
    #[error("public_key: {0}")]
    Key(#[from] MintError),
}

impl Classify for Unheard {
    fn kind(&self) -> Kind {
        Kind::InvalidInput
    }
    fn reason(&self) -> &'static str {
        match self {
            Self::NoHello => "HELLO_MISSING",
            Self::Key(_) => "FIELD_INVALID",
        }
    }
}

/// The service.
pub struct Bridge {
    context: Context,
    id: ChildId,
    hub: Arc<Hub>,
    inbound: Inbound,
    bridges: Bridges,
    stop: Shutdown,
    numbers: AtomicU64,
    passes: Option<Arc<Passes>>,
}

impl Bridge {
    /// The service of the cluster `id`.
    #[must_use]
    pub fn new(
        context: Context,
        id: ChildId,
        hub: Arc<Hub>,
        inbound: Inbound,
        bridges: Bridges,
        stop: Shutdown,
    ) -> Self {
        Self {
            context,
            id,
            hub,
            inbound,
            bridges,
            stop,
            numbers: AtomicU64::new(0),
            passes: None,
        }
    }

    /// Gives bridges passes for the broker.
    #[must_use]
    pub fn with_passes(mut self, passes: Option<Arc<Passes>>) -> Self {
        self.passes = passes;
        self
    }
}

#[tonic::async_trait]
impl BridgeService for Bridge {
    async fn join(&self, call: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let (who, request) = open(call)?;
        let id = join::join(&self.context, &who, request).await;
        let id = id.map_err(|error| status(&error))?;
        Ok(Response::new(JoinResponse {
            bridge_id: id.to_string(),
            cluster_id: self.id.to_string(),
        }))
    }

    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let caller = caller(principal(&request)?, PrincipalKind::Bridge);
        match caller.map_err(|error: NotForYou| status(&error))? {
            Caller::Known(_) | Caller::Operator | Caller::Key { trusted: true, .. } => {}
            Caller::Key { .. } => return Err(status(&BridgeError::Unknown)),
        }
        let mut up = request.into_inner();
        let first = timeout(HELLO_PATIENCE, up.message()).await;
        let Ok(Ok(Some(AttachRequest {
            message: Some(attach_request::Message::Hello(hello)),
        }))) = first
        else {
            return Err(status(&Unheard::NoHello));
        };
        let keeper = Keeper::of(self.passes.as_ref(), &hello);
        let pass = match &keeper {
            Some(keeper) => Some(keeper.pass().map_err(|e| status(&Unheard::Key(e)))?),
            None => None,
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let receiver = self.bridges.add(number);
        // One is enough: it is told who is revoked by then.
        let (reached, again) = mpsc::channel(1);
        if let (Some(keeper), Some(sender)) = (keeper, self.bridges.sender(number)) {
            tokio::spawn(keeper.keep(sender, again));
        }
        let reader = Reader {
            number,
            hub: self.hub.clone(),
            inbound: self.inbound.clone(),
            bridges: self.bridges.clone(),
            reached,
        };
        tokio::spawn(reader.read(hello, up));
        let welcome = BridgeWelcome {
            cluster_id: self.id.to_string(),
            pass,
        };
        let first = AttachResponse {
            message: Some(attach_response::Message::Welcome(welcome)),
        };
        let down = stream::once(future::ready(Ok(first))).chain(ReceiverStream::new(receiver));
        Ok(Response::new(Box::pin(self.stop.end(down))))
    }
}

/// Reads one bridge's stream.
struct Reader {
    number: u64,
    hub: Arc<Hub>,
    inbound: Inbound,
    bridges: Bridges,
    /// Is told when the broker may not know who is revoked.
    reached: mpsc::Sender<()>,
}

impl Reader {
    async fn read(self, hello: BridgeHello, mut up: Streaming<AttachRequest>) {
        info!(
            bridge = hello.bridge_id,
            version = hello.version,
            "bridge attached"
        );
        self.greet().await;
        while let Ok(Some(request)) = up.message().await {
            match request.message {
                // Said once and known.
                Some(attach_request::Message::Hello(_)) => {}
                Some(attach_request::Message::Account(taken)) => {
                    if taken.error.is_empty() {
                        info!(serial = taken.serial, "the broker knows who is revoked");
                    } else {
                        warn!(
                            serial = taken.serial,
                            error = taken.error,
                            "the broker was not told who is revoked, trying again"
                        );
                        let reached = self.reached.clone();
                        tokio::spawn(async move {
                            tokio::time::sleep(TELL_AGAIN).await;
                            let _ = reached.try_send(());
                        });
                    }
                }
                Some(attach_request::Message::Worker(up)) => {
                    let (Ok(id), Some(message)) = (
                        convert::id::<ChildId>("worker_id", &up.worker_id),
                        up.message,
                    ) else {
                        let shown: String = up.worker_id.chars().take(60).collect();
                        warn_seldom!(worker = shown, "message of an unreadable worker dropped");
                        continue;
                    };
                    self.bridges.heard(id, self.number);
                    if self.inbound.send((id, message)).await.is_err() {
                        break;
                    }
                }
                Some(attach_request::Message::Broker(broker)) => {
                    self.bridges.connected(self.number, broker.connected);
                    if broker.connected {
                        // It may have lost what it was told.
                        let _ = self.reached.try_send(());
                        self.greet().await;
                    } else {
                        self.hub.cut().await;
                    }
                }
                None => {}
            }
        }
        info!(bridge = self.number, "bridge detached");
        self.bridges.remove(self.number);
        // What came through it says nothing about the bridges that are left.
        self.hub.cut().await;
    }

    /// Workers may have waited for a bridge: those that are not heard are asked for a word.
    async fn greet(&self) {
        match self.hub.greet().await {
            Ok(outbox) => {
                for (child, message) in outbox {
                    self.bridges.send(child, message);
                }
            }
            Err(error) => {
                warn!(%error, "asking workers for a word failed; they will report by themselves")
            }
        }
    }
}
