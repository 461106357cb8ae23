//! `ClusterLinkService`: one bidirectional stream is one session of a cluster.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
};

use edgeio_domain::ids::ChildId;
use edgeio_link::convert;
use edgeio_proto::{
    link::v1::child_message::Message,
    root::v1::{
        AttachRequest, AttachResponse, RegisterRequest, RegisterResponse,
        cluster_link_service_server::ClusterLinkService,
    },
};
use edgeio_server::shutdown::Shutdown;
use edgeio_tier::{context::Context, loops::Inbound};
use futures::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use super::{Streams, register};

/// The service.
pub struct ClusterLink {
    context: Context,
    inbound: Inbound,
    streams: Streams,
    stop: Shutdown,
    numbers: AtomicU64,
}

impl ClusterLink {
    /// The service over the root's parts.
    #[must_use]
    pub fn new(context: Context, inbound: Inbound, streams: Streams, stop: Shutdown) -> Self {
        Self {
            context,
            inbound,
            streams,
            stop,
            numbers: AtomicU64::new(0),
        }
    }
}

#[tonic::async_trait]
impl ClusterLinkService for ClusterLink {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        register::register(&self.context, request.into_inner())
            .await
            .map(Response::new)
    }

    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut up = request.into_inner();
        // The stream belongs to the child that its first message names; the answer must not wait for that message.
        let (inbound, streams) = (self.inbound.clone(), self.streams.clone());
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (first_sender, first) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut child: Option<ChildId> = None;
            let mut announce = Some(first_sender);
            while let Ok(Some(request)) = up.message().await {
                let Some(message) = request.message else {
                    continue;
                };
                if child.is_none() {
                    let Some(Message::Hello(hello)) = &message.message else {
                        break;
                    };
                    let Ok(id) = convert::id::<ChildId>("child_id", &hello.child_id) else {
                        break;
                    };
                    info!(cluster = %id, "cluster attached");
                    child = Some(id);
                    if let Some(announce) = announce.take() {
                        let _ = announce.send(streams.add(id, number));
                    }
                }
                let Some(id) = child else { break };
                if inbound.send((id, message)).await.is_err() {
                    break;
                }
            }
            if let Some(id) = child {
                debug!(cluster = %id, "cluster detached");
                streams.remove(id, number);
            }
        });
        let down = async_stream(first);
        Ok(Response::new(Box::pin(self.stop.end(down))))
    }
}

/// The answers, once it is known whose they are.
fn async_stream(
    first: tokio::sync::oneshot::Receiver<
        tokio::sync::mpsc::Receiver<Result<AttachResponse, Status>>,
    >,
) -> impl Stream<Item = Result<AttachResponse, Status>> + Send {
    use futures::{StreamExt as _, future, stream};
    stream::once(first).flat_map(|found| match found {
        Ok(receiver) => ReceiverStream::new(receiver).boxed(),
        Err(_) => {
            let text = "the first message of Attach must be a hello with the cluster's id";
            stream::once(future::ready(Err(Status::invalid_argument(text)))).boxed()
        }
    })
}
