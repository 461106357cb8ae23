//! The bridge: one gRPC stream to the cluster, one NATS connection, messages carried between them.
//!
//! Up: the worker's id is the subject's, never the payload's; reports are passed on in order and never dropped
//! knowingly, samples are coalesced. Down: each message is published for its worker. The bridge takes part in the
//! bridges' queue group only while it is attached, so what it could not pass on goes to another bridge.
//! What is said is carried as it came, with whatever is not known here: an older bridge serves newer workers and clusters.
//! It holds no state: what it has in hand when it dies shows at the cluster as a gap and is asked for again.

mod coalesce;
mod config;
mod counters;
mod downlink;
mod key;
mod queue;
mod session;
mod uplink;
mod wire;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use edgeio_client::{Backoff, BackoffPolicy, Target, TargetError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use config::Config;
pub use counters::{Count, Counters};
use key::Key;
pub use key::KeyError;
use queue::Queue;
use session::{Ended, Session, SessionError};

use crate::bus::nats::NatsBridgeBus;
use crate::bus::{BridgeBus, ConnectError};

/// Waits between two attempts to attach.
const BACKOFF: BackoffPolicy = BackoffPolicy {
    // Usually the cluster runs beside the bridge and is back soon.
    base: Duration::from_millis(250),
    // A cluster has a handful of bridges, so they cannot overrun it, and all its workers wait for them.
    cap: Duration::from_secs(5),
    healthy: Duration::from_secs(10),
};

/// A session that lived for less than this is not begun again at once, whatever the cluster says.
const STEADY: Duration = Duration::from_millis(100);

/// A bridge cannot run. What may pass, such as a cluster or broker that is away, is waited for and never an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster's address has no meaning.
    #[error("read the cluster's address `{address}`")]
    Cluster {
        /// As it was given.
        address: String,
        /// Why.
        #[source]
        source: TargetError,
    },
    /// Its key cannot be had.
    #[error("open the bridge's key")]
    Key(#[from] KeyError),
    /// The broker's address has no meaning.
    #[error(transparent)]
    Broker(#[from] ConnectError),
}

/// Runs a bridge until `stop`, then hands on what it has in hand and ends.
///
/// # Errors
/// [`RunError`], at the start only.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    Relay::new(config).run(stop).await
}

/// A bridge, before it runs.
#[derive(Debug)]
pub struct Relay {
    config: Config,
    id: Uuid,
    counters: Arc<Counters>,
}

impl Relay {
    /// A bridge with a random id.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            id: Uuid::new_v4(),
            counters: Arc::default(),
        }
    }

    /// What it counts, also while it runs.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// As [`run`].
    ///
    /// # Errors
    /// [`RunError`], at the start only.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let bus = NatsBridgeBus::connect(&self.config.nats, self.id).await?;
        self.run_on(&bus, stop).await
    }

    /// As [`run`], on a bus that is there already.
    ///
    /// # Errors
    /// [`RunError`], at the start only.
    pub async fn run_on(
        self,
        bus: &dyn BridgeBus,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let target = self
            .config
            .cluster
            .parse()
            .map_err(|source| RunError::Cluster {
                address: self.config.cluster.clone(),
                source,
            })?;
        let key = Key::open(&self.config.data_dir)?;
        let stopping = CancellationToken::new();
        let relay = self.attach_for_ever(target, key, bus, &stopping);
        tokio::pin!(relay);
        tokio::select! {
            () = &mut relay => {}
            () = stop => {
                stopping.cancel();
                relay.await;
            }
        }
        Ok(())
    }

    async fn attach_for_ever(
        &self,
        target: Target,
        key: Key,
        bus: &dyn BridgeBus,
        stop: &CancellationToken,
    ) {
        let mut queue = Queue::new();
        let mut backoff = Backoff::new(BACKOFF);
        let session = Session {
            id: self.id,
            target,
            dialer: self.config.dialer(),
            key,
            plain: AtomicBool::new(false),
            name: &self.config.name,
            joining: &self.config.joining,
            bus,
            interval: self.config.telemetry_interval,
            counters: &self.counters,
            stop,
        };
        while !stop.is_cancelled() {
            let began = Instant::now();
            let ended = session.run(&mut queue).await;
            let mut lived = Duration::ZERO;
            match ended {
                Ok(Ended::Stopped) => return,
                Ok(Ended::Old) if began.elapsed() > STEADY => {
                    tracing::info!(bridge = %self.id, "the connection to the cluster is old, coming on a new one");
                    continue;
                }
                // So soon again: as if it were away.
                Ok(Ended::Old) => {}
                Ok(Ended::ByCluster(reason)) => {
                    lived = began.elapsed();
                    tracing::warn!(bridge = %self.id, %reason, "detached from the cluster");
                }
                // A cluster of before: it knows no keys, and is asked again without one.
                Err(SessionError::TakesNoKey) => continue,
                Err(error) => {
                    // With its causes: the outermost says only that it did not connect.
                    let error = edgeio_server::status::chain(&error);
                    if self.counters.attach_failures.may_log() {
                        tracing::warn!(bridge = %self.id, %error, "cannot attach to the cluster");
                    } else {
                        tracing::debug!(bridge = %self.id, %error, "cannot attach to the cluster");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.pause(lived)) => {}
            }
        }
    }
}
