//! The client against real servers that come, go and hang.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is its report")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edgeio_client::{
    Backoff, BackoffPolicy, Failure, Options, Repeat, WatchEvent, connect, connect_now,
    explain_status, resume, retry,
};
use edgeio_proto::root::v1::cluster_service_client::ClusterServiceClient;
use edgeio_proto::root::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use edgeio_proto::root::v1::{
    FenceRequest, FenceResponse, ForgetRequest, ForgetResponse, GetRequest, GetResponse,
    ListRequest, ListResponse, ReleaseRequest, ReleaseResponse, WatchRequest, WatchResponse,
};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

/// Bounds what a defect could hang; nothing here depends on how fast it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Counts upwards in its watch, from the token on; its other calls answer nothing much.
#[derive(Clone, Default)]
struct Counter {
    lists: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl ClusterService for Counter {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        // The first call never answers, so that its connection can be cut under it.
        if self.lists.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(ListResponse::default()))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        std::future::pending().await
    }

    async fn watch(
        &self,
        call: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let from = call.into_inner().token.parse().unwrap_or(0_u32);
        let ticks = futures::stream::iter(from + 1..=from + 2).map(|n| {
            Ok(WatchResponse {
                token: n.to_string(),
                change: None,
            })
        });
        Ok(Response::new(
            ticks.chain(futures::stream::pending()).boxed(),
        ))
    }

    async fn forget(&self, _: Request<ForgetRequest>) -> Result<Response<ForgetResponse>, Status> {
        Err(Status::not_found("no such cluster"))
    }

    async fn release(
        &self,
        _: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        Err(Status::not_found("no such cluster"))
    }

    async fn fence(&self, _: Request<FenceRequest>) -> Result<Response<FenceResponse>, Status> {
        Err(Status::not_found("no such cluster"))
    }
}

/// A server on its own runtime, so that dropping it cuts everything as a kill would.
struct Server {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    fn start(socket: std::net::TcpListener, counter: Counter) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        socket.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(TcpListener::from_std(socket).unwrap());
            tonic::transport::Server::builder()
                .add_service(ClusterServiceServer::new(counter))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self {
            runtime: Some(runtime),
        }
    }

    fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

fn bind(address: &str) -> (std::net::TcpListener, SocketAddr) {
    let socket = std::net::TcpListener::bind(address).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Binds the port of a server that was killed, as soon as the kill is through.
async fn bind_again(address: SocketAddr) -> std::net::TcpListener {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match std::net::TcpListener::bind(address) {
            Ok(socket) => return socket,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn client(address: SocketAddr) -> ClusterServiceClient<tonic::transport::Channel> {
    let target = address.to_string().parse().unwrap();
    ClusterServiceClient::new(connect(&target, &Options::default()).unwrap())
}

fn quick() -> Backoff {
    let cap = Duration::from_millis(100);
    Backoff::new(BackoffPolicy {
        cap,
        ..BackoffPolicy::default()
    })
}

#[tokio::test]
async fn nothing_there_is_explained() {
    let (socket, address) = bind("127.0.0.1:0");
    drop(socket);
    let status = client(address)
        .list(ListRequest::default())
        .await
        .unwrap_err();
    assert_eq!(Failure::of(&status), Failure::Unreachable);
    let lines = explain_status(&status);
    assert!(
        lines[0].starts_with("no answer from the server: "),
        "{lines:?}"
    );
    assert!(lines[0].contains("refused"), "{lines:?}");
    let target = address.to_string().parse().unwrap();
    let error = connect_now(&target, &Options::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("connect to `{address}`"));
}

#[tokio::test]
async fn a_call_that_is_cut_in_the_middle_is_repeated_on_the_next_server() {
    let (socket, address) = bind("127.0.0.1:0");
    let counter = Counter::default();
    let first = Server::start(socket, counter.clone());
    let client = client(address);
    let call = tokio::spawn(async move {
        retry(Repeat::Read, PATIENCE, || {
            let mut client = client.clone();
            async move { client.list(ListRequest::default()).await }
        })
        .await
    });
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while counter.lists.load(Ordering::SeqCst) == 0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the call did not arrive"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.kill();
    let second = Server::start(bind_again(address).await, counter.clone());
    assert!(
        tokio::time::timeout(PATIENCE, call)
            .await
            .unwrap()
            .unwrap()
            .is_ok()
    );
    assert!(counter.lists.load(Ordering::SeqCst) >= 2);
    second.kill();
}

#[tokio::test]
async fn a_server_that_does_not_answer_ends_at_the_deadline() {
    let (socket, address) = bind("127.0.0.1:0");
    let server = Server::start(socket, Counter::default());
    let options = Options {
        answer_within: Duration::from_millis(100),
        ..Options::default()
    };
    let target = address.to_string().parse().unwrap();
    let mut client = ClusterServiceClient::new(connect(&target, &options).unwrap());
    let status = client.get(GetRequest::default()).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded),
        "{status:?}"
    );
    assert_eq!(Failure::of(&status), Failure::Failed, "{status:?}");
    let lines = explain_status(&status);
    assert!(
        lines[0] == "no answer in time" && lines[1].contains("not known"),
        "{lines:?}"
    );
    server.kill();
}

#[tokio::test]
async fn a_watch_survives_a_restart_and_misses_nothing() {
    let (socket, address) = bind("127.0.0.1:0");
    let first = Server::start(socket, Counter::default());
    let client = client(address);
    let events = resume(String::new(), quick(), move |token| {
        let mut client = client.clone();
        async move { client.watch(WatchRequest { token }).await }
    });
    let mut events = Box::pin(events);
    let mut tokens = Vec::new();
    let mut first = Some(first);
    let mut second = None;
    let mut interrupted = 0;
    while tokens.len() < 4 {
        let event = tokio::time::timeout(PATIENCE, events.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        match event {
            WatchEvent::Message(message) => tokens.push(message.token),
            WatchEvent::Interrupted { .. } => interrupted += 1,
            WatchEvent::Restarted => tokens.clear(),
        }
        if tokens.len() == 2
            && let Some(first) = first.take()
        {
            first.kill();
            second = Some(Server::start(bind_again(address).await, Counter::default()));
        }
    }
    assert_eq!(tokens, ["1", "2", "3", "4"]);
    assert!(interrupted >= 1);
    second.unwrap().kill();
}
