//! The one trait behind which every way of running a job stands.
//!
//! Invariants every driver keeps, proved by `tests/conformance`:
//! - the engine is the memory: a driver object may be dropped at any time and a new one sees the same instances;
//! - every verb is idempotent: doing it twice is doing it once;
//! - nothing is restarted, stopped or removed unless asked, so the engine's own restart policies stay off;
//! - labels are written once; what changes later (generations, counts) lives in the worker's ledger.
//!
//! Deliberately absent: the wire and the domain. Drivers know only the types here, so that an external driver can speak
//! the same trait over a socket; the agent converts.

pub mod cgroup;
#[cfg(feature = "containerd")]
pub mod containerd;
pub mod docker;
mod error;
pub mod external;
#[cfg(feature = "fake")]
pub mod fake;
pub mod process;
pub mod registries;
pub mod sandbox;
pub(crate) mod seccomp;
mod types;
pub mod users;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use uuid::Uuid;

use error::is_wrong_job;
pub use error::{BoxError, ErrorClass, RuntimeError};
pub use sandbox::{PIDS_LIMIT, SandboxSpec};
pub use types::{
    Capabilities, Content, EventKind, Exit, Feature, Handle, InstanceId, JobSpec, Labels, Missing,
    Mount, NoProgress, Observed, Port, Progress, Protocol, Provision, PullPolicy, RuntimeEvent,
    RuntimeKind, State, Stats, Step,
};

/// Labels (Docker, containerd) and keys (process) under which an instance's owner is written; no others exist.
pub mod label {
    /// The cluster that assigned the instance.
    pub const CLUSTER: &str = "edgeio.cluster";
    /// The worker that owns the instance: two workers may share one engine.
    pub const WORKER: &str = "edgeio.worker";
    /// The instance.
    pub const INSTANCE: &str = "edgeio.instance";
    /// Hex of the hash over the spec's bytes.
    pub const SPEC_HASH: &str = "edgeio.spec-hash";

    use std::collections::HashMap;

    use super::{InstanceId, Labels};

    /// As engines take them.
    pub(super) fn write(labels: &Labels) -> HashMap<String, String> {
        [
            (CLUSTER, labels.cluster.to_string()),
            (WORKER, labels.worker.to_string()),
            (INSTANCE, labels.instance.to_string()),
            (SPEC_HASH, labels.spec_hash.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// Whose a container is; `None` for a stranger's.
    pub(super) fn read(found: &HashMap<String, String>) -> Option<Labels> {
        let id = |key: &str| found.get(key)?.parse().ok();
        Some(Labels {
            cluster: id(CLUSTER)?,
            worker: id(WORKER)?,
            instance: InstanceId(id(INSTANCE)?),
            spec_hash: found.get(SPEC_HASH)?.clone(),
        })
    }

    #[cfg(test)]
    mod tests {
        use uuid::Uuid;

        use super::*;

        #[test]
        fn what_is_written_is_read_and_a_stranger_is_nobodys() {
            let labels = Labels {
                cluster: Uuid::from_u128(1),
                worker: Uuid::from_u128(2),
                instance: InstanceId(Uuid::from_u128(3)),
                spec_hash: "ab".to_owned(),
            };
            let mut written = write(&labels);
            assert_eq!(written.len(), 4);
            assert_eq!(read(&written), Some(labels));
            written.remove(SPEC_HASH);
            assert_eq!(read(&written), None);
        }
    }
}

/// A way of running jobs. All methods may be called concurrently for different instances; calls for one instance are
/// serialised by the caller.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// The name by which specs choose this runtime.
    fn kind(&self) -> RuntimeKind;

    /// What the engine can do here and now, and what it cannot, with the reason. Fails when the engine does not answer.
    async fn capabilities(&self) -> Result<Capabilities, RuntimeError>;

    /// Every instance of `worker` the engine knows, in whatever state.
    async fn list_owned(&self, worker: Uuid) -> Result<Vec<Observed>, RuntimeError>;

    /// One instance, or `None` where the engine does not have it.
    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>, RuntimeError>;

    /// Pulls, creates and starts. What is there already is adopted: a running instance is returned as it is, a created one is
    /// started, an exited or paused one is returned as such and not touched (see [`Runtime::restart`]).
    ///
    /// Fails with [`RuntimeError::Conflict`] if the instance exists with another spec hash.
    async fn ensure(
        &self,
        job: &JobSpec,
        progress: &dyn Progress,
    ) -> Result<Observed, RuntimeError>;

    /// Starts an exited instance again under the same handle's owner: Docker starts the same container (same id, a new
    /// start time), the process runtime spawns again in the same directory with the same limits. A running instance is
    /// returned as it is; a missing one is [`RuntimeError::Gone`].
    async fn restart(&self, job: &JobSpec) -> Result<Observed, RuntimeError>;

    /// Asks the job to end (by its stop signal), waits `grace`, then kills it and all it started. Returns how it ended; `None` where the engine does not
    /// have the instance or it never ran. The instance stays listed until removed.
    async fn stop(
        &self,
        instance: InstanceId,
        grace: Duration,
    ) -> Result<Option<Exit>, RuntimeError>;

    /// Removes all that the engine holds of the instance; kills it first if it still runs. Missing is success.
    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError>;

    /// Freezes the instance; a paused one stays so.
    async fn pause(&self, instance: InstanceId) -> Result<(), RuntimeError>;

    /// Thaws the instance; a running one stays so.
    async fn resume(&self, instance: InstanceId) -> Result<(), RuntimeError>;

    /// An exclusive instance that runs may do so until then, by CLOCK_BOOTTIME since the boot. A runtime whose jobs have a
    /// keeper of their own tells it, and the keeper ends the job in time also while no agent lives or works. Whether there
    /// was nothing to tell, or it was told: otherwise the time that was told before stands, which is earlier.
    fn renew(&self, _instance: InstanceId, _until: Duration) -> bool {
        true
    }

    /// What the instance uses now. [`RuntimeError::Gone`] where it does not run.
    async fn stats(&self, instance: InstanceId) -> Result<Stats, RuntimeError>;

    /// The last `max_bytes` of standard output and error together, in order of arrival where the engine knows it.
    async fn tail(&self, instance: InstanceId, max_bytes: usize) -> Result<Vec<u8>, RuntimeError>;

    /// Hints that something changed. Instances of other workers may appear; hints may be lost, and [`RuntimeEvent::Gap`] says when
    /// the driver knows it, so the caller lists at the start, after each gap and now and then. Ends only with the driver.
    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError>;
}
