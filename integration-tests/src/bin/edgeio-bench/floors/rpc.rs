//! gRPC by itself, on the stack that edgeIO uses: a unary call, and one message each way on an open stream.

use std::{pin::Pin, time::Instant};

use anyhow::{Context, Result};
use edgeio_proto::cluster::v1::{
    AttachRequest, AttachResponse, JoinRequest, JoinResponse,
    bridge_service_client::BridgeServiceClient,
    bridge_service_server::{BridgeService, BridgeServiceServer},
};
use futures::{Stream, StreamExt};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{report::Row, stats::Series};

/// Calls in a round.
const CALLS: usize = 2000;

/// Answers each message of a stream with an empty one.
struct Echo;

#[tonic::async_trait]
impl BridgeService for Echo {
    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        Ok(Response::new(JoinResponse::default()))
    }

    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let answers = request
            .into_inner()
            .map(|message| message.map(|_| AttachResponse::default()));
        Ok(Response::new(Box::pin(answers)))
    }
}

pub(crate) struct Rpc {
    server: JoinHandle<()>,
    health: HealthClient<Channel>,
    up: mpsc::Sender<AttachRequest>,
    down: Streaming<AttachResponse>,
    unary: Series,
    stream: Series,
}

impl Rpc {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind")?;
        let address = listener.local_addr().context("bind")?;
        let (_reporter, health) = tonic_health::server::health_reporter();
        let serving = Server::builder()
            .tcp_nodelay(true)
            .add_service(health)
            .add_service(BridgeServiceServer::new(Echo))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move {
            // It ends with the bench; a failure shows in the calls.
            let _ = serving.await;
        });
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .context("address")?
            .connect()
            .await
            .context("connect")?;
        // One message is under way at a time.
        let (up, messages) = mpsc::channel(1);
        let down = BridgeServiceClient::new(channel.clone())
            .attach(ReceiverStream::new(messages))
            .await
            .context("attach")?
            .into_inner();
        Ok(Self {
            server,
            health: HealthClient::new(channel),
            up,
            down,
            unary: Series::default(),
            stream: Series::default(),
        })
    }

    pub(crate) async fn round(&mut self) -> Result<()> {
        self.unary.begin();
        for _ in 0..CALLS {
            let start = Instant::now();
            self.health
                .check(HealthCheckRequest::default())
                .await
                .context("call")?;
            self.unary.add(start.elapsed().as_secs_f64() * 1e6);
        }
        self.stream.begin();
        for _ in 0..CALLS {
            let start = Instant::now();
            self.up
                .send(AttachRequest::default())
                .await
                .context("send")?;
            self.down
                .message()
                .await
                .context("receive")?
                .context("the stream ended")?;
            self.stream.add(start.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        vec![
            Row::new("floors", "gRPC unary call", "µs", &self.unary),
            Row::new("floors", "gRPC stream, there and back", "µs", &self.stream),
        ]
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        self.server.abort();
    }
}
