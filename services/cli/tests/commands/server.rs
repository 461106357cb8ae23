//! A server with canned answers. It serves the applications like every tier, and the clusters like a root, but no workers.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
};

use edgeio_proto::{
    api::v1::{
        application_service_server::{ApplicationService, ApplicationServiceServer},
        *,
    },
    root::v1::{
        self as root,
        cluster_service_server::{ClusterService, ClusterServiceServer},
    },
};
use futures::{StreamExt, stream::BoxStream};
use tokio::{io::AsyncWriteExt, process::Command};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// What the server answers and what it was asked.
#[derive(Default)]
pub(crate) struct Canned {
    pub(crate) applications: Vec<Application>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) held: Vec<Held>,
    /// What a watch tells; it then stays open.
    pub(crate) watch: Vec<WatchResponse>,
    pub(crate) clusters: Vec<root::Cluster>,
    /// Mutations are refused with this.
    pub(crate) refusal: Option<Status>,
    /// So many mutations are answered UNAVAILABLE first.
    pub(crate) away: Mutex<u32>,
    /// The mutations, as `name request_id details`.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Canned {
    fn mutation(&self, what: String) -> Result<(), Status> {
        self.asked.lock().unwrap().push(what);
        let mut away = self.away.lock().unwrap();
        if *away > 0 {
            *away -= 1;
            return Err(Status::unavailable("starting"));
        }
        self.refusal.clone().map_or(Ok(()), Err)
    }

    fn application(&self, name: &str) -> Result<Application, Status> {
        let found = self
            .applications
            .iter()
            .find(|application| application.name == name);
        found
            .cloned()
            .ok_or_else(|| Status::not_found(format!("no application `{name}`")))
    }
}

/// What a run of the program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The canned server on a port of its own.
pub(crate) struct Server {
    address: String,
    pub(crate) canned: Arc<Canned>,
}

impl Server {
    pub(crate) async fn start(canned: Canned) -> Self {
        let canned = Arc::new(canned);
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap().to_string();
        let served = tonic::transport::Server::builder()
            .add_service(ApplicationServiceServer::from_arc(Arc::clone(&canned)))
            .add_service(ClusterServiceServer::from_arc(Arc::clone(&canned)))
            .serve_with_incoming(incoming);
        tokio::spawn(served);
        Self { address, canned }
    }

    /// Runs `edgeio` against this server with a manifest on standard input.
    pub(crate) async fn edgeio(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeio"));
        command.args(arguments);
        self.run(command, input).await
    }

    /// The same for a person at a terminal, which shows both outputs in one.
    pub(crate) async fn edgeio_on_terminal(&self, arguments: &str, typed: &str) -> Ran {
        let mut command = Command::new("script");
        let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_edgeio"));
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        self.run(command, typed).await
    }

    async fn run(&self, mut command: Command, input: &str) -> Ran {
        let mut child = command
            .env("EDGEIO_SERVER", &self.address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that needs no input may have ended before this is written.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[tonic::async_trait]
impl ApplicationService for Canned {
    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let request = request.into_inner();
        let spec = request.application.unwrap_or_default();
        self.mutation(format!("apply {} {}", request.request_id, spec.name))?;
        let application = self.application(&spec.name)?;
        let mut plan = Vec::new();
        for service in &spec.services {
            plan.push(PlanStep {
                action: PlanAction::Create.into(),
                service: service.name.clone(),
                child: "a".into(),
                ..Default::default()
            });
            plan.push(PlanStep {
                action: PlanAction::Create.into(),
                service: service.name.clone(),
                ordinal: 1,
                candidates: vec![CandidateReasons {
                    candidate: "cluster a".into(),
                    reasons: vec!["no \u{1b}[31mCPU".into()],
                }],
                ..Default::default()
            });
        }
        Ok(Response::new(ApplyResponse {
            application: Some(application),
            plan,
        }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let application = Some(self.application(&request.into_inner().name)?);
        Ok(Response::new(GetResponse { application }))
    }

    /// Pages of one, so that paging is used.
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let at: usize = request.into_inner().page_token.parse().unwrap_or(0);
        let more = at + 1 < self.applications.len();
        Ok(Response::new(ListResponse {
            applications: self.applications.iter().skip(at).take(1).cloned().collect(),
            next_page_token: if more {
                (at + 1).to_string()
            } else {
                String::new()
            },
        }))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let request = request.into_inner();
        self.mutation(format!(
            "delete {} {} {}",
            request.request_id, request.name, request.force
        ))?;
        let application = Some(self.application(&request.name)?);
        Ok(Response::new(DeleteResponse {
            application,
            abandoned: self.instances.clone(),
        }))
    }

    async fn scale(
        &self,
        request: Request<ScaleRequest>,
    ) -> Result<Response<ScaleResponse>, Status> {
        let request = request.into_inner();
        let (id, name) = (&request.request_id, &request.name);
        self.mutation(format!(
            "scale {id} {name} {} {}",
            request.service, request.replicas
        ))?;
        Ok(Response::new(ScaleResponse {
            application: Some(self.application(name)?),
        }))
    }

    async fn list_instances(
        &self,
        _: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        let instances = self.instances.clone();
        Ok(Response::new(ListInstancesResponse {
            instances,
            next_page_token: String::new(),
        }))
    }

    async fn list_held(
        &self,
        request: Request<ListHeldRequest>,
    ) -> Result<Response<ListHeldResponse>, Status> {
        let request = request.into_inner();
        let kind = request.kind();
        let held = self.held.iter().filter(|held| {
            [HeldKind::Unspecified, held.kind()].contains(&kind)
                && ["", &held.application].contains(&&*request.application)
        });
        Ok(Response::new(ListHeldResponse {
            held: held.cloned().collect(),
            next_page_token: String::new(),
        }))
    }

    async fn resolve_held(
        &self,
        request: Request<ResolveHeldRequest>,
    ) -> Result<Response<ResolveHeldResponse>, Status> {
        let request = request.into_inner();
        let decision = request.decision().as_str_name();
        self.mutation(format!(
            "resolve {} {} {decision}",
            request.request_id, request.id
        ))?;
        Ok(Response::new(ResolveHeldResponse::default()))
    }

    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let told = futures::stream::iter(self.watch.clone().into_iter().map(Ok));
        Ok(Response::new(
            told.chain(futures::stream::pending()).boxed(),
        ))
    }
}

#[tonic::async_trait]
impl ClusterService for Canned {
    async fn list(
        &self,
        _: Request<root::ListRequest>,
    ) -> Result<Response<root::ListResponse>, Status> {
        let clusters = self.clusters.clone();
        Ok(Response::new(root::ListResponse {
            clusters,
            next_page_token: String::new(),
        }))
    }

    async fn get(
        &self,
        _: Request<root::GetRequest>,
    ) -> Result<Response<root::GetResponse>, Status> {
        Ok(Response::new(root::GetResponse {
            cluster: self.clusters.first().cloned(),
        }))
    }

    type WatchStream = BoxStream<'static, Result<root::WatchResponse, Status>>;

    async fn watch(
        &self,
        _: Request<root::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(futures::stream::pending().boxed()))
    }

    async fn forget(
        &self,
        request: Request<root::ForgetRequest>,
    ) -> Result<Response<root::ForgetResponse>, Status> {
        let request = request.into_inner();
        self.mutation(format!(
            "forget {} {} {}",
            request.request_id, request.cluster, request.force
        ))?;
        Ok(Response::new(root::ForgetResponse { replaced: 2 }))
    }

    async fn release(
        &self,
        request: Request<root::ReleaseRequest>,
    ) -> Result<Response<root::ReleaseResponse>, Status> {
        let request = request.into_inner();
        self.mutation(format!(
            "release {} {}",
            request.request_id, request.cluster
        ))?;
        Ok(Response::new(root::ReleaseResponse {
            cluster: self.clusters.first().cloned(),
        }))
    }

    async fn fence(
        &self,
        request: Request<root::FenceRequest>,
    ) -> Result<Response<root::FenceResponse>, Status> {
        let request = request.into_inner();
        self.mutation(format!("fence {} {}", request.request_id, request.cluster))?;
        Ok(Response::new(root::FenceResponse {
            cluster: self.clusters.first().cloned(),
            given_up: 3,
        }))
    }
}
