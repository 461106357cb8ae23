//! A root or a cluster as its users meet it: typed calls that survive a restart, and the looks that stories take.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use edgeio_client::{Dialer, Options, Proxy, Repeat, Trust, connect, retry};
use edgeio_proto::{
    api::v1::{
        Application, ApplicationSpec, ApplyRequest, CreateJoinTokenRequest, DeleteRequest,
        GetRequest, Instance, InstancePhase, ListInstancesRequest, Reachability, ScaleRequest,
        application_service_client::ApplicationServiceClient,
        join_service_client::JoinServiceClient,
    },
    cluster::v1::{self as cluster, Worker, worker_service_client::WorkerServiceClient},
    root::v1::{self as root, Cluster, cluster_service_client::ClusterServiceClient},
};
use tonic::{
    Code, Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use uuid::Uuid;

use super::eventually;

/// How long a call is repeated while its server is away.
const PATIENCE: Duration = Duration::from_secs(20);

/// Clients of one tier.
#[derive(Debug, Clone)]
pub struct Tier {
    channel: Channel,
    bearer: Bearer,
    address: String,
}

/// How calls go to a tier.
pub type Calls = InterceptedService<Channel, Bearer>;

/// Calls as the first administrator, by the token in a file that the tier writes at its first start; as nobody without one.
#[derive(Debug, Clone, Default)]
pub struct Bearer(Option<PathBuf>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(path) = &self.0 {
            let token = std::fs::read_to_string(path);
            let token =
                token.map_err(|error| Status::unavailable(format!("no token yet: {error}")))?;
            let value = format!("Bearer {}", token.trim()).parse();
            let value = value.map_err(|_| Status::internal("the token is no header"))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

impl Tier {
    /// Clients of the tier that listens there.
    ///
    /// # Errors
    /// None of the address.
    pub fn on(address: SocketAddr) -> Result<Self> {
        let address = address.to_string();
        let target = address.parse().context("the tier's address")?;
        let channel = connect(&target, &Options::default()).context("prepare a channel")?;
        Ok(Self {
            channel,
            bearer: Bearer::default(),
            address,
        })
    }

    /// The same for a tier that speaks TLS: its authority and its first administrator's token are in these files, once it has
    /// started, and newer authorities are learned.
    ///
    /// # Errors
    /// None of the address.
    pub fn behind_tls(address: SocketAddr, ca: &Path, token: PathBuf) -> Result<Self> {
        let address = format!("https://{address}");
        let target = address.parse().context("the tier's address")?;
        let trust = Trust::default().file(Some(ca.to_owned()));
        let dialer = Dialer::new(trust, Proxy::default());
        let channel = dialer.connect(&target, &Options::default());
        let channel = channel.context("prepare a channel")?;
        let bearer = Bearer(Some(token));
        Ok(Self {
            channel,
            bearer,
            address,
        })
    }

    /// `HOST:PORT`, with `https://` before it if it speaks TLS.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The connection, for callers of other kinds.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The API of applications, for calls that need more than what follows.
    #[must_use]
    pub fn applications(&self) -> ApplicationServiceClient<Calls> {
        ApplicationServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The API of clusters, which a root has.
    #[must_use]
    pub fn clusters(&self) -> ClusterServiceClient<Calls> {
        ClusterServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The API of workers, which a cluster has.
    #[must_use]
    pub fn workers(&self) -> WorkerServiceClient<Calls> {
        WorkerServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The API of join tokens.
    #[must_use]
    pub fn joins(&self) -> JoinServiceClient<Calls> {
        JoinServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Makes a join token for one machine.
    ///
    /// # Errors
    /// It is refused.
    pub async fn join_token(&self, kind: &str) -> Result<String> {
        let request = CreateJoinTokenRequest {
            kind: kind.to_owned(),
            ..CreateJoinTokenRequest::default()
        };
        let answer = retry(Repeat::RequestId, PATIENCE, || {
            let (mut api, request) = (self.joins(), request.clone());
            async move { api.create_join_token(request).await }
        });
        let answer = answer.await.context("make a join token")?;
        Ok(answer.into_inner().token)
    }

    /// Applies an application.
    ///
    /// # Errors
    /// It is refused.
    pub async fn apply(&self, spec: &ApplicationSpec) -> Result<Application> {
        let request = ApplyRequest {
            application: Some(spec.clone()),
            request_id: Uuid::new_v4().to_string(),
            ..ApplyRequest::default()
        };
        let answer = retry(Repeat::RequestId, PATIENCE, || {
            let (mut api, request) = (self.applications(), request.clone());
            async move { api.apply(request).await }
        });
        let answer = answer.await.with_context(|| format!("apply {}", spec.name));
        answer?.into_inner().application.context("no application")
    }

    /// Sets the number of replicas.
    ///
    /// # Errors
    /// It is refused.
    pub async fn scale(&self, app: &str, service: &str, replicas: u32) -> Result<()> {
        let request = ScaleRequest {
            name: app.to_owned(),
            service: service.to_owned(),
            replicas,
            request_id: Uuid::new_v4().to_string(),
            ..ScaleRequest::default()
        };
        let answer = retry(Repeat::RequestId, PATIENCE, || {
            let (mut api, request) = (self.applications(), request.clone());
            async move { api.scale(request).await }
        });
        answer.await.with_context(|| format!("scale {app}"))?;
        Ok(())
    }

    /// Deletes an application.
    ///
    /// # Errors
    /// It is refused.
    pub async fn delete(&self, app: &str) -> Result<Application> {
        let request = DeleteRequest {
            name: app.to_owned(),
            request_id: Uuid::new_v4().to_string(),
            ..DeleteRequest::default()
        };
        let answer = retry(Repeat::RequestId, PATIENCE, || {
            let (mut api, request) = (self.applications(), request.clone());
            async move { api.delete(request).await }
        });
        let answer = answer.await.with_context(|| format!("delete {app}"));
        answer?.into_inner().application.context("no application")
    }

    /// An application; `None` when there is none of that name.
    ///
    /// # Errors
    /// The tier does not answer.
    pub async fn get(&self, app: &str) -> Result<Option<Application>> {
        let name = app.to_owned();
        let answer = self
            .read(async |tier: Tier| {
                let request = GetRequest {
                    name: name.clone(),
                    ..GetRequest::default()
                };
                tier.applications().get(request).await
            })
            .await;
        match answer {
            Ok(found) => Ok(found.into_inner().application),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status).context("get an application"),
        }
    }

    /// Every instance of an application, or of all when the name is empty.
    ///
    /// # Errors
    /// The tier does not answer.
    pub async fn instances(&self, app: &str) -> Result<Vec<Instance>> {
        let request = ListInstancesRequest {
            application: app.to_owned(),
            page_size: 1000,
            ..ListInstancesRequest::default()
        };
        let answer = self
            .read(async |tier: Tier| tier.applications().list_instances(request.clone()).await)
            .await;
        Ok(answer.context("list instances")?.into_inner().instances)
    }

    /// Every cluster of a root.
    ///
    /// # Errors
    /// The root does not answer.
    pub async fn list_clusters(&self) -> Result<Vec<Cluster>> {
        let answer = self
            .read(async |tier: Tier| tier.clusters().list(root::ListRequest::default()).await)
            .await;
        Ok(answer.context("list clusters")?.into_inner().clusters)
    }

    /// Every worker of a cluster.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn list_workers(&self) -> Result<Vec<Worker>> {
        let answer = self
            .read(async |tier: Tier| tier.workers().list(cluster::ListRequest::default()).await)
            .await;
        Ok(answer.context("list workers")?.into_inner().workers)
    }

    /// Waits until exactly `replicas` of a service run, fresh and wanted, and nothing else is listed of it.
    ///
    /// # Errors
    /// They never do.
    pub async fn running(&self, app: &str, service: &str, replicas: usize) -> Result<Running> {
        eventually(&format!("{replicas} of {app}/{service} run"), async || {
            let all = self.instances(app).await?;
            let of: Vec<Instance> = all.into_iter().filter(|i| i.service == service).collect();
            let good = |i: &Instance| {
                i.phase() == InstancePhase::Running
                    && i.reachability() == Reachability::Reachable
                    && !i.retiring
            };
            ensure!(
                of.len() == replicas && of.iter().all(good),
                "{}",
                sketch(&of)
            );
            Ok(of.into_iter().map(|i| (i.id.clone(), i)).collect())
        })
        .await
    }

    /// Waits until an application and everything of it is gone.
    ///
    /// # Errors
    /// It never is.
    pub async fn gone(&self, app: &str) -> Result<()> {
        eventually(&format!("{app} is gone"), async || {
            if let Some(there) = self.get(app).await? {
                bail!("{:?}", there.status);
            }
            let left = self.instances(app).await?;
            ensure!(left.is_empty(), "{}", sketch(&left));
            Ok(())
        })
        .await
    }

    async fn read<T>(&self, call: impl AsyncFn(Tier) -> Result<T, Status>) -> Result<T, Status> {
        retry(Repeat::Read, PATIENCE, || call(self.clone())).await
    }
}

/// Running instances by their id.
pub type Running = BTreeMap<String, Instance>;

/// Instances as a person would note them: one line each.
#[must_use]
pub fn sketch(instances: &[Instance]) -> String {
    if instances.is_empty() {
        return "no instances".to_owned();
    }
    let line = |i: &Instance| {
        format!(
            "\n  {}/{} {} on {}/{}: {} {} {} restarts={} retiring={} reason={:?} message={:?} {:?}",
            i.service,
            i.ordinal,
            i.id,
            i.cluster,
            i.worker,
            i.phase().as_str_name(),
            i.reachability().as_str_name(),
            i.handle,
            i.restarts,
            i.retiring,
            i.reason,
            i.message,
            i.candidates,
        )
    };
    instances.iter().map(line).collect()
}
