//! The whole line as processes of the release binaries: root, cluster, nats-server, bridge, worker, each with its own
//! data on disk, on loopback. Nothing is tuned: these are the defaults that a user gets.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use edgeio_proto::{
    api::v1::application_service_client::ApplicationServiceClient,
    cluster::v1::{self as cluster, worker_service_client::WorkerServiceClient},
    root::v1::{self as root, cluster_service_client::ClusterServiceClient},
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    child::{Child, free_port, loopback},
    options::Options,
};

/// How long the line may take until its worker is offered to the root.
const READY: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Processes that run, in the order in which they end.
pub(crate) struct Line {
    worker: Child,
    bridge: Child,
    cluster: Child,
    root: Child,
    nats: Child,
    /// The root's API.
    pub(crate) at_root: Channel,
    /// The cluster's API.
    pub(crate) at_cluster: Channel,
}

impl Line {
    /// Starts all and waits until the root could place a job on the worker.
    pub(crate) async fn start(options: &Options, dir: &Path) -> Result<Self> {
        let bin = options.bin_dir.canonicalize().with_context(|| {
            let dir = options.bin_dir.display();
            format!("find the release binaries in {dir}: make build makes them")
        })?;
        let program = |name: &str| -> PathBuf { bin.join(name) };
        let data = |name: &str| dir.join(name).display().to_string();
        let (root_port, cluster_port, nats_port) = (free_port()?, free_port()?, free_port()?);
        let address = |port: u16| format!("127.0.0.1:{port}");

        let mut nats = Child::start(
            "nats-server",
            Path::new("nats-server"),
            ["--addr", "127.0.0.1", "--port", &nats_port.to_string()],
            &[],
            dir,
        )?;
        nats.wait_for_port(loopback(nats_port))?;
        let mut root = Child::start(
            "edgeio-root",
            &program("edgeio-root"),
            ["--listen", &address(root_port), "--data-dir", &data("root")],
            &[],
            dir,
        )?;
        root.wait_for_port(loopback(root_port))?;
        let mut cluster = Child::start(
            "edgeio-cluster",
            &program("edgeio-cluster"),
            [
                "--listen",
                &address(cluster_port),
                "--data-dir",
                &data("cluster"),
                "--root",
                &address(root_port),
                "--broker-port",
                &nats_port.to_string(),
            ],
            &[],
            dir,
        )?;
        cluster.wait_for_port(loopback(cluster_port))?;
        let bridge = Child::start(
            "edgeio-bridge",
            &program("edgeio-bridge"),
            [
                "--cluster",
                &address(cluster_port),
                "--nats",
                &format!("nats://{}", address(nats_port)),
            ],
            &[],
            dir,
        )?;
        let worker = Child::start(
            "edgeio-worker",
            &program("edgeio-worker"),
            [
                "--cluster",
                &address(cluster_port),
                "--data-dir",
                &data("worker"),
                "--native",
            ],
            &[],
            dir,
        )?;
        let line = Self {
            worker,
            bridge,
            cluster,
            root,
            nats,
            at_root: connect(root_port).await?,
            at_cluster: connect(cluster_port).await?,
        };
        line.ready(dir).await?;
        Ok(line)
    }

    async fn ready(&self, dir: &Path) -> Result<()> {
        let until = Instant::now() + READY;
        let mut last = String::new();
        while Instant::now() < until {
            let clusters = ClusterServiceClient::new(self.at_root.clone())
                .list(root::ListRequest::default())
                .await
                .context("list clusters")?
                .into_inner()
                .clusters;
            let workers = WorkerServiceClient::new(self.at_cluster.clone())
                .list(cluster::ListRequest::default())
                .await
                .context("list workers")?
                .into_inner()
                .workers;
            let offered = |c: &root::Cluster| {
                let workers = c.capacity.as_ref().map_or(0, |capacity| capacity.workers);
                c.state() == root::ChildState::Ready && workers > 0
            };
            if clusters.iter().any(offered)
                && workers
                    .iter()
                    .any(|w| w.state() == cluster::WorkerState::Ready)
            {
                return Ok(());
            }
            last = format!("{clusters:?}\n{workers:?}");
            tokio::time::sleep(LOOK).await;
        }
        let logs = dir.display();
        bail!(
            "no worker was offered to the root within {READY:?} (logs are in {logs}); last seen:\n{last}"
        )
    }

    /// A client of the root's applications.
    pub(crate) fn applications(&self) -> ApplicationServiceClient<Channel> {
        ApplicationServiceClient::new(self.at_root.clone())
    }

    /// Every process, root first.
    pub(crate) fn processes(&self) -> [&Child; 5] {
        [
            &self.root,
            &self.cluster,
            &self.nats,
            &self.bridge,
            &self.worker,
        ]
    }
}

async fn connect(port: u16) -> Result<Channel> {
    Endpoint::from_shared(format!("http://{}", loopback(port)))
        .context("address")?
        .connect()
        .await
        .with_context(|| format!("connect to port {port}"))
}
