//! A server with one service whose handlers behave as the request says, and its clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeio_proto::api::v1::application_service_client::ApplicationServiceClient;
use edgeio_proto::api::v1::application_service_server::{
    ApplicationService, ApplicationServiceServer,
};
use edgeio_proto::api::v1::{
    Application, ApplyRequest, ApplyResponse, Bookmark, DeleteRequest, DeleteResponse, GetRequest,
    GetResponse, ListHeldRequest, ListHeldResponse, ListInstancesRequest, ListInstancesResponse,
    ListRequest, ListResponse, ResolveHeldRequest, ResolveHeldResponse, ScaleRequest,
    ScaleResponse, WatchRequest, WatchResponse, watch_response,
};
use edgeio_server::auth::{Authenticate, Local, Reach, Role, principal};
use edgeio_server::config::ServeConfig;
use edgeio_server::grpc::{Api, InFlight, Limits, Listener, OpenCall, RequestId, Served};
use edgeio_server::shutdown::{Shutdown, Trigger};
use edgeio_server::status::{Classify, Kind, status};
use edgeio_server::tls::Tls;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Bounds what a defect could hang; nothing here depends on how fast it is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Behaves as the name in the request says.
struct Actor {
    stop: Shutdown,
}

#[derive(Debug, thiserror::Error)]
#[error("find the application `{0}`")]
struct Missing(String);

impl Classify for Missing {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }
    fn reason(&self) -> &'static str {
        "APPLICATION_NOT_FOUND"
    }
}

fn bookmark() -> WatchResponse {
    let change = Some(watch_response::Change::Bookmark(Bookmark {}));
    WatchResponse {
        token: "1".to_owned(),
        change,
    }
}

#[tonic::async_trait]
impl ApplicationService for Actor {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn apply(&self, call: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let who = principal(&call)?;
        let role = who
            .highest_role()
            .map_or_else(String::new, |role| role.to_string());
        let owner = format!("{} {role}", who.name);
        let uid = call.extensions().get::<RequestId>().unwrap().0.clone();
        let application = Some(Application {
            owner,
            uid,
            ..Application::default()
        });
        Ok(Response::new(ApplyResponse {
            application,
            plan: Vec::new(),
        }))
    }

    async fn get(&self, call: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        match call.into_inner().name.as_str() {
            "panic" => panic!("the actor was told to"),
            "hang" => std::future::pending().await,
            "slow" => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err(status(&Missing("slow".to_owned())))
            }
            "large" => {
                let uid = "x".repeat(5 * 1024 * 1024);
                let application = Some(Application {
                    uid,
                    ..Application::default()
                });
                Ok(Response::new(GetResponse { application }))
            }
            name => Err(status(&Missing(name.to_owned()))),
        }
    }

    async fn watch(
        &self,
        call: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = futures::stream::iter([Ok(bookmark())]);
        let stream: Self::WatchStream = match call.into_inner().namespace.as_str() {
            "panic" => {
                // Yields first, so that tonic sends what it has encoded so far.
                let later = async {
                    tokio::task::yield_now().await;
                    panic!("told to, later")
                };
                first.chain(futures::stream::once(later)).boxed()
            }
            "rude" => first.chain(futures::stream::pending()).boxed(),
            _ => self
                .stop
                .end(first.chain(futures::stream::pending()))
                .boxed(),
        };
        Ok(Response::new(stream))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Ok(Response::new(ListResponse::default()))
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        Ok(Response::new(DeleteResponse::default()))
    }

    async fn scale(&self, _: Request<ScaleRequest>) -> Result<Response<ScaleResponse>, Status> {
        Ok(Response::new(ScaleResponse::default()))
    }

    async fn list_instances(
        &self,
        _: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        Ok(Response::new(ListInstancesResponse::default()))
    }

    async fn list_held(
        &self,
        _: Request<ListHeldRequest>,
    ) -> Result<Response<ListHeldResponse>, Status> {
        Ok(Response::new(ListHeldResponse::default()))
    }

    async fn resolve_held(
        &self,
        _: Request<ResolveHeldRequest>,
    ) -> Result<Response<ResolveHeldResponse>, Status> {
        Ok(Response::new(ResolveHeldResponse::default()))
    }
}

pub(crate) struct Running {
    pub(crate) trigger: Trigger,
    pub(crate) address: SocketAddr,
    pub(crate) in_flight: InFlight,
    server: JoinHandle<Served>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default(), PATIENCE).await
    }

    pub(crate) async fn with(limits: Limits, drain: Duration) -> Self {
        let auth = Arc::new(Local {
            role: Role::Deployer,
            reach: Reach::Loopback,
        });
        Self::begin(|api| api.limits(limits), drain, auth, None).await
    }

    pub(crate) async fn secured(auth: Arc<dyn Authenticate>, tls: Option<Tls>) -> Self {
        Self::begin(|api| api, PATIENCE, auth, tls).await
    }

    /// As an operator configured it.
    pub(crate) async fn configured(auth: Arc<dyn Authenticate>, serve: &ServeConfig) -> Self {
        Self::begin(|api| api.configured(serve), PATIENCE, auth, None).await
    }

    async fn begin(
        set: impl FnOnce(Api) -> Api,
        drain: Duration,
        auth: Arc<dyn Authenticate>,
        tls: Option<Tls>,
    ) -> Self {
        let (trigger, stop) = Shutdown::new();
        let actor = Actor { stop: stop.clone() };
        let api = set(Api::new(auth)).service(edgeio_server::bounded!(
            ApplicationServiceServer::new(actor)
        ));
        let in_flight = api.in_flight();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap()
            .secure(tls.clone());
        if let Some(tls) = tls {
            tokio::spawn(tls.keep(stop.clone()));
        }
        let address = listener.address();
        let server = tokio::spawn(async move { api.serve(listener, stop, drain).await.unwrap() });
        Self {
            trigger,
            address,
            in_flight,
            server,
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn client(&self) -> ApplicationServiceClient<Channel> {
        ApplicationServiceClient::new(self.channel().await)
    }

    pub(crate) async fn ended(self) -> Served {
        tokio::time::timeout(PATIENCE, self.server)
            .await
            .unwrap()
            .unwrap()
    }

    /// Waits until exactly these calls are open.
    pub(crate) async fn until_open(&self, expected: &[(&str, usize)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(method, count)| OpenCall {
                method: (*method).to_owned(),
                count: *count,
            })
            .collect();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.in_flight.open() != expected {
            let seen = self.in_flight.open();
            assert!(
                tokio::time::Instant::now() < deadline,
                "wanted {expected:?}, last {seen:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) const WATCH: &str = "/edgeio.api.v1.ApplicationService/Watch";
pub(crate) const GET: &str = "/edgeio.api.v1.ApplicationService/Get";

pub(crate) fn get(name: &str) -> GetRequest {
    GetRequest {
        name: name.to_owned(),
        ..GetRequest::default()
    }
}

pub(crate) fn watch(namespace: &str) -> WatchRequest {
    WatchRequest {
        namespace: namespace.to_owned(),
        ..WatchRequest::default()
    }
}
