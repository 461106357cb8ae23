//! `BridgeService`: a bridge's stream. It is no child's session: many bridges may be attached, and losing one loses
//! nothing but time.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use edgeio_domain::ids::ChildId;
use edgeio_link::convert;
use edgeio_proto::cluster::v1::{
    AttachRequest, AttachResponse, BridgeWelcome, JoinRequest, JoinResponse, attach_request,
    attach_response, bridge_service_server::BridgeService,
};
use edgeio_server::{
    auth::{PrincipalKind, principal},
    shutdown::Shutdown,
    status::status,
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
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{
    Bridges,
    join::{self, BridgeError},
};

/// The service.
pub struct Bridge {
    context: Context,
    id: ChildId,
    hub: Arc<Hub>,
    inbound: Inbound,
    bridges: Bridges,
    stop: Shutdown,
    numbers: AtomicU64,
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
        }
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
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let receiver = self.bridges.add(number);
        let reader = Reader {
            number,
            hub: self.hub.clone(),
            inbound: self.inbound.clone(),
            bridges: self.bridges.clone(),
        };
        tokio::spawn(reader.read(request.into_inner()));
        let welcome = BridgeWelcome {
            cluster_id: self.id.to_string(),
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
}

impl Reader {
    async fn read(self, mut up: Streaming<AttachRequest>) {
        while let Ok(Some(request)) = up.message().await {
            match request.message {
                Some(attach_request::Message::Hello(hello)) => {
                    info!(
                        bridge = hello.bridge_id,
                        version = hello.version,
                        "bridge attached"
                    );
                    self.greet().await;
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
