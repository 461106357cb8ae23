//! Where the parts of `edgeio dev` meet: their configurations, and the order of starting and stopping.
//!
//! Started from the broker and the root downwards, stopped from the workers upwards: a worker that stops first leaves jobs that
//! nobody starts again while they are removed.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use edgeio_bridge::broker::{self, Broker, Settings};
use edgeio_cluster::broker::command::{ACCOUNTS, authority};
use edgeio_server::status::chain;
use edgeio_worker::{RunOptions, config::LimitsPolicy, inventory::Inventory};
use futures::future::select_all;

use super::{Args, part::Part};
use crate::error::CliError;

/// The cluster's display name.
pub(super) const CLUSTER: &str = "dev";

/// Open calls of people who look on are cut after this: nobody waits for a balancer to take this server out.
const DRAIN: Duration = Duration::from_secs(2);

/// Children report that often when nothing changes: on one machine it costs nothing, and a killed worker is soon noticed.
const REPORT: Duration = Duration::from_secs(5);

/// Where the parts can be reached.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) root: SocketAddr,
    pub(super) cluster: SocketAddr,
    pub(super) broker: SocketAddr,
    pub(super) broker_pid: u32,
}

/// Everything that runs.
pub(super) struct Assembly {
    addresses: Addresses,
    /// In the order in which they are stopped: workers, bridge, cluster, root, broker.
    parts: Vec<Part>,
    workers: usize,
}

impl Assembly {
    /// Starts everything; what was started stops again when something fails.
    pub(super) async fn start(args: &Args, data: &Path) -> Result<Self, CliError> {
        let program = broker::find().map_err(|error| failed("start the broker", &error))?;
        let kept = data.join("broker");
        let settings = Settings {
            listen: args.nats_listen,
            monitor: None,
            // As `edgeio-cluster nats-config` writes it: the broker lets in only whom the cluster gave a pass.
            authority: authority(&cluster_dir(data), &kept.join(ACCOUNTS))
                .map_err(|error| failed("prepare the broker", &error))?,
            data_dir: kept,
        };
        let broker = Broker::start_with(&program, settings)
            .await
            .map_err(|error| failed("start the broker", &error))?;
        let (broker_address, broker_pid) = (broker.address(), broker.pid());

        let root = edgeio_root::Root::open(root_config(args, data))
            .await
            .map_err(|error| port_help(failed("start the root", &error), "--root-listen"))?;
        let root_address = root.address();
        let cluster = cluster_config(args, data, root_address, broker_address);
        let cluster = edgeio_cluster::Cluster::open(cluster)
            .await
            .map_err(|error| port_help(failed("start the cluster", &error), "--cluster-listen"))?;
        let addresses = Addresses {
            root: root_address,
            cluster: cluster.address(),
            broker: broker_address,
            broker_pid,
        };

        let bridge = edgeio_bridge::Config {
            cluster: addresses.cluster.to_string(),
            nats: format!("nats://{broker_address}"),
            ..edgeio_bridge::Config::default()
        };
        let mut parts = Vec::new();
        for config in worker_configs(args, data, addresses.cluster)? {
            let options = RunOptions {
                stop_jobs_on_exit: !args.keep_jobs,
                ..RunOptions::default()
            };
            parts.push(Part::start(config.name.clone(), |stop| {
                edgeio_worker::run_with(config, options, async move { stop.wait().await })
            }));
        }
        let workers = parts.len();
        parts.push(Part::start("the bridge", |stop| {
            edgeio_bridge::run(bridge, async move { stop.wait().await })
        }));
        parts.push(Part::start("the cluster", |stop| cluster.run(stop)));
        parts.push(Part::start("the root", |stop| root.run(stop)));
        parts.push(Part::start("the broker", |stop| async move {
            broker.keep(stop.wait()).await;
            Ok::<_, std::convert::Infallible>(())
        }));
        Ok(Self {
            addresses,
            parts,
            workers,
        })
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Waits until a part ends that should not.
    pub(super) async fn ended(&mut self) -> CliError {
        let parts = self.parts.iter_mut().map(|part| Box::pin(part.ended()));
        select_all(parts).await.0
    }

    /// Stops everything.
    pub(super) async fn stop(self) {
        let mut parts = self.parts.into_iter();
        // While they remove their jobs the cluster is still told, so that it knows what became of them.
        let workers: Vec<Part> = parts.by_ref().take(self.workers).collect();
        futures::future::join_all(workers.into_iter().map(Part::stop)).await;
        for part in parts {
            part.stop().await;
        }
    }
}

/// Each worker has a directory and a share of the machine: together they take no more than there is.
fn worker_configs(
    args: &Args,
    data: &Path,
    cluster: SocketAddr,
) -> Result<Vec<edgeio_worker::Config>, CliError> {
    let machine = Inventory::take(data).map_err(|error| failed("look at this machine", &error))?;
    let (count, all) = (i64::from(args.workers), i64::from(machine.cores) * 1000);
    let memory = i64::try_from(machine.memory_bytes).unwrap_or(i64::MAX);
    let share = BTreeMap::from([
        ("cpu".to_owned(), format!("{}m", all / count)),
        ("memory".to_owned(), (memory / count).to_string()),
    ]);
    let config = |number| edgeio_worker::Config {
        cluster: cluster.to_string(),
        name: format!("worker-{number}"),
        data_dir: data.join(format!("worker-{number}")),
        native: true,
        native_without_limits: LimitsPolicy::Run,
        capacity: share.clone(),
        ..edgeio_worker::Config::default()
    };
    Ok((1..=args.workers).map(config).collect())
}

fn cluster_dir(data: &Path) -> std::path::PathBuf {
    data.join("cluster")
}

fn root_config(args: &Args, data: &Path) -> edgeio_root::Config {
    let mut config = edgeio_root::Config::default();
    config.serve.listen = args.root_listen;
    config.serve.drain_timeout = DRAIN;
    config.tier.data_dir = data.join("root");
    config.tier.report_interval = REPORT;
    config.tier.lease = REPORT * 3;
    config
}

fn cluster_config(
    args: &Args,
    data: &Path,
    root: SocketAddr,
    broker: SocketAddr,
) -> edgeio_cluster::Config {
    let mut config = edgeio_cluster::Config {
        name: CLUSTER.to_owned(),
        root: root.to_string(),
        broker_address: broker.ip().to_string(),
        broker_port: broker.port(),
        ..edgeio_cluster::Config::default()
    };
    config.serve.listen = args.cluster_listen;
    config.serve.drain_timeout = DRAIN;
    config.tier.data_dir = cluster_dir(data);
    config.tier.report_interval = REPORT;
    config.tier.lease = REPORT * 3;
    config
}

fn failed(attempt: &str, error: &dyn std::error::Error) -> CliError {
    CliError::Failed(format!("{attempt}: {}", chain(error)))
}

fn port_help(error: CliError, flag: &str) -> CliError {
    CliError::Failed(format!(
        "{error}\nif the port is taken, by another `edgeio dev` perhaps, choose one with {flag} IP:PORT"
    ))
}
