//! The agent: drives the node with real clocks, runtimes and the bus. It listens on no port.
//!
//! A worker that has registered before starts from its ledger without any contact: its jobs are adopted or started first, the
//! cluster is told later. What waits (pulls, stops, the cluster) runs in tasks of its own; the node itself is only ever
//! touched by one loop. Several agents live in one process if each has a data directory of its own: nothing here is global.
//! Deliberately absent: decisions, which are the node's.

mod clock;
mod convert;
mod driver;
mod engines;
mod identity;
mod line;
mod provision;
mod register;
mod stop;
mod telemetry;
mod work;

use std::{
    collections::BTreeSet,
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeio_bridge::bus::{Dial, nats::NatsDial};
use edgeio_domain::ids::ChildId;
use edgeio_link::child;
use tracing::info;

pub use identity::IdentityError;
pub use register::{LeaveError, leave};

use crate::{
    Config,
    inventory::{Inventory, InventoryError},
    ledger::{FileLedger, LedgerError, make_private},
    node::{Node, Setup},
    policy::{Policy, PolicyError},
    runtime::{Runtime, RuntimeError},
};
use clock::Alarm;
use driver::{Driver, Next};
use engines::{Engines, capacity_of, offers};
use identity::{Home, Membership};
use provision::Provisioner;
use register::Registration;

/// How a worker is run inside another program.
#[derive(Clone, Default)]
pub struct RunOptions {
    /// Stop and remove the jobs at the end. Otherwise they run on.
    pub stop_jobs_on_exit: bool,
    /// A binary whose `main` begins with [`crate::shim::dispatch`]; `None` is this process's own.
    pub shim: Option<PathBuf>,
    /// Runtimes beside the configured ones.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// How the broker is reached, if not over NATS alone.
    pub dial: Option<Arc<dyn Dial>>,
}

/// Why a worker could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its directory cannot be used.
    #[error("make the data directory `{}`", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its identity cannot be used.
    #[error("open the worker's identity")]
    Identity(#[from] IdentityError),
    /// Its ledger cannot be used.
    #[error("open the worker's ledger")]
    Ledger(#[from] LedgerError),
    /// The machine cannot be described.
    #[error("take the inventory")]
    Inventory(#[from] InventoryError),
    /// There is no timer to be had.
    #[error("make a timer of the boot clock")]
    Alarm(#[source] io::Error),
    /// Its policy cannot be used.
    #[error("take the worker's policy")]
    Policy(#[from] PolicyError),
    /// Files of jobs that are gone cannot be removed.
    #[error("clear the data directory `{}`", path.display())]
    Sweep {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A runtime cannot be set up.
    #[error("set up a runtime")]
    Runtime(#[source] RuntimeError),
    /// The directory is another worker's.
    #[error(
        "`{}` holds {jobs} jobs of worker {before}, but the cluster takes this for worker {now}: it may be another cluster; \
         give this one another --data-dir, or make the worker leave its old cluster first", path.display()
    )]
    OtherWorker {
        /// The directory.
        path: PathBuf,
        /// Jobs in its ledger.
        jobs: usize,
        /// The id before.
        before: uuid::Uuid,
        /// The id now.
        now: uuid::Uuid,
    },
}

/// Runs a worker until `stop`; its jobs run on.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: Config, stop: impl Future<Output = ()> + Send) -> Result<(), RunError> {
    run_with(config, RunOptions::default(), stop).await
}

/// Runs a worker until `stop`.
///
/// # Errors
/// See [`RunError`].
pub async fn run_with(
    config: Config,
    options: RunOptions,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let data_dir = config.data_dir.clone();
    make_private(&data_dir).map_err(|source| RunError::DataDir {
        path: data_dir.clone(),
        source,
    })?;
    let dial = options.dial.clone().unwrap_or_else(|| Arc::new(NatsDial));
    let mut stop = std::pin::pin!(stop);
    let home = Home(data_dir.clone());
    home.public_key()?;
    let inventory = Inventory::take(&data_dir)?;
    let engines = Engines::open(&config, options.shim.as_deref(), options.runtimes.clone())
        .map_err(RunError::Runtime)?;
    let policy = Policy::read(config.policy.as_deref())?;
    let provisioner = Provisioner::new(&data_dir, policy.clone(), engines::sockets(&config));
    let registration = Registration {
        policy: policy.clone(),
        provisioner: provisioner.clone(),
        config: config.clone(),
        home: home.clone(),
        inventory: inventory.clone(),
        engines: engines.clone(),
        pass: home.pass()?,
    };
    // The lock is taken before anything else is changed, and kept while identities change.
    let mut ledger = Some(FileLedger::open(&data_dir)?);
    home.come_back()?;
    let (mut membership, mut fresh) = match home.membership()? {
        Some(known) => (known, false),
        None => {
            let joined = tokio::select! {
                joined = registration.clone().until_done() => joined,
                () = &mut stop => return Ok(()),
            };
            home.join(&joined)?;
            (joined, true)
        }
    };
    loop {
        let reports = engines.survey().await;
        let runtimes = offers(&reports);
        let setup = Setup {
            identity: child::Identity {
                id: ChildId(membership.worker_id),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                boot_id: inventory.boot_id.clone(),
            },
            cluster: membership.cluster_id,
            capacity: capacity_of(&config, &inventory, &runtimes),
            runtimes,
        };
        let own = match ledger.take() {
            Some(own) => own,
            None => FileLedger::open(&data_dir)?,
        };
        let mut node = Node::open(setup, Box::new(own))?;
        node.restrict(config.willing());
        node.allow(policy.clone());
        sweep(&provisioner, &node, &data_dir)?;
        announce(&membership, &node);
        let alarm = Alarm::new().map_err(RunError::Alarm)?;
        let driver = Driver::new(
            node,
            membership,
            registration.clone(),
            dial.clone(),
            fresh,
            alarm,
        );
        match driver.run(&mut stop).await? {
            Next::Stop { worker, graces } => {
                if options.stop_jobs_on_exit {
                    stop::stop_all(&engines, worker, &graces).await;
                }
                return Ok(());
            }
            Next::Join(joined) => {
                home.join(&joined)?;
                (membership, fresh) = (joined, true);
            }
        }
    }
}

/// Removes the files of jobs that the ledger does not know any more.
fn sweep(provisioner: &Provisioner, node: &Node, data_dir: &Path) -> Result<(), RunError> {
    let known: BTreeSet<uuid::Uuid> = node.entries().map(|entry| entry.order.id.0).collect();
    let swept = provisioner.sweep(|id| known.contains(&id.0));
    swept.map_err(|source| RunError::Sweep {
        path: data_dir.to_owned(),
        source,
    })
}

fn announce(membership: &Membership, node: &Node) {
    info!(
        worker = %membership.worker_id, name = membership.name, cluster = membership.cluster_name,
        instances = node.entries().count(), "worker starts"
    );
}
