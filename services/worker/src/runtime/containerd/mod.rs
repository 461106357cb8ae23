//! Containers by containerd, over its Unix socket, in a namespace of our own.
//!
//! An instance is the container of its id, with a snapshot of the same key. containerd starts tasks and forgets: the task of a job
//! that ended stays until it is started again or removed, because it is what knows the exit code. What the engine has no place
//! for (output, when a run began, the network) is in the instance's directory. Containers outlive the agent, the engine's daemon and this object.
//!
//! Deliberately absent: image collection and the transfer
//! service (containerd 1.6, which Debian ships, has none).

mod engine;
mod errors;
mod events;
mod home;
mod image;
mod network;
mod observe;
mod pull;
mod spec;
mod start;
mod unpack;
mod user;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use containerd_client::{
    services::v1::{
        DeleteContainerRequest, DeleteTaskRequest, KillRequest, PauseTaskRequest,
        ResumeTaskRequest, WaitRequest, snapshots::RemoveSnapshotRequest,
    },
    tonic::{Code, Status},
};
use futures::stream::BoxStream;
use tokio::time::timeout;
use uuid::Uuid;

use self::{
    engine::{Engine, SNAPSHOTTER, call},
    errors::{Failure, is_unreachable, unreachable},
    home::Home,
    network::Network,
};
use super::{
    Capabilities, ErrorClass, Exit, Feature, InstanceId, JobSpec, Missing, Observed, Progress,
    Runtime, RuntimeError, RuntimeEvent, RuntimeKind, State, Stats,
    cgroup::{Hierarchies, Known},
    label,
    registries::Registries,
};

/// Where the engine listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";

/// How long a killed job may take to be gone: the kernel only has to free its memory.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// How often outputs are looked at for their size.
const ROTATE_EVERY: Duration = Duration::from_secs(10);

const TERM: u32 = 15;
const KILL: u32 = 9;

/// Where the engine is, and what the driver keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerdConfig {
    /// Its Unix socket.
    pub socket: PathBuf,
    /// The directory of instances' outputs and records.
    pub state: PathBuf,
    /// Whether all containers of a worker share one shim process: a tenth of the memory, but who kills it kills them all.
    pub shared_shim: bool,
}

/// The runtime of containerd's containers.
pub struct ContainerdRuntime {
    engine: Arc<Engine>,
    socket: String,
    state: PathBuf,
    shared_shim: bool,
    groups: Known,
    hierarchies: OnceLock<Option<Hierarchies>>,
    registries: Registries,
}

impl ContainerdRuntime {
    /// A driver of the engine at the socket. Connects when first used, and whenever the engine is back.
    pub fn new(config: ContainerdConfig) -> Self {
        Self {
            socket: config.socket.display().to_string(),
            engine: Arc::new(Engine::new(config.socket)),
            state: config.state,
            shared_shim: config.shared_shim,
            groups: Known::default(),
            hierarchies: OnceLock::new(),
            registries: Registries::default(),
        }
    }

    /// The same, that fetches images as these registries want.
    #[must_use]
    pub fn with_registries(self, registries: Registries) -> Self {
        Self { registries, ..self }
    }

    fn home(&self, instance: InstanceId) -> Home {
        Home(self.state.join(instance.to_string()))
    }

    fn failed(&self, verb: &'static str, instance: InstanceId) -> Failure<'_> {
        Failure {
            socket: &self.socket,
            verb,
            instance,
        }
    }

    fn engine_failed(&self, verb: &'static str, status: Status) -> RuntimeError {
        if is_unreachable(&status) {
            return unreachable(&self.socket, status);
        }
        RuntimeError::Engine {
            verb,
            runtime: RuntimeKind::CONTAINERD,
            source: status.message().to_owned().into(),
        }
    }

    fn hierarchies(&self) -> Option<&Hierarchies> {
        self.hierarchies
            .get_or_init(|| Hierarchies::read().ok())
            .as_ref()
    }

    /// Looks at one instance.
    async fn look(&self, instance: InstanceId) -> Result<Option<Observed>, RuntimeError> {
        let failed = |status| self.failed("inspect", instance).because(status);
        let Some(container) = observe::container(&self.engine, instance)
            .await
            .map_err(failed)?
        else {
            return Ok(None);
        };
        let task = observe::task(&self.engine, instance)
            .await
            .map_err(failed)?;
        let (home, now) = (self.home(instance), SystemTime::now());
        observe::observed(&container, task.as_ref(), &home, self.hierarchies(), now)
            .map_err(|e| self.failed("inspect", instance).file(e))
    }

    /// Looks at one that must be there.
    async fn look_to(
        &self,
        verb: &'static str,
        instance: InstanceId,
    ) -> Result<Observed, RuntimeError> {
        self.look(instance)
            .await?
            .ok_or(RuntimeError::Gone { instance, verb })
    }

    /// Sends a signal to the job, or to all that is in its container. One that ended meanwhile is fine.
    async fn signal(
        &self,
        instance: InstanceId,
        signal: u32,
        all: bool,
    ) -> Result<(), RuntimeError> {
        let request = KillRequest {
            container_id: instance.to_string(),
            exec_id: String::new(),
            signal,
            all,
        };
        match self.engine.tasks().kill(call(request)).await {
            Err(status) if status.code() != Code::NotFound => {
                Err(self.failed("stop", instance).because(status))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the task has ended, so long. Whether it has.
    async fn ended(&self, instance: InstanceId, within: Duration) -> Result<bool, RuntimeError> {
        let request = WaitRequest {
            container_id: instance.to_string(),
            exec_id: String::new(),
        };
        match timeout(within, self.engine.tasks().wait(call(request))).await {
            Err(_elapsed) => Ok(false),
            Ok(Err(status)) if status.code() != Code::NotFound => {
                Err(self.failed("stop", instance).because(status))
            }
            Ok(_) => Ok(true),
        }
    }

    /// Kills what runs and removes the task, with its network. No task is success.
    async fn clear_task(
        &self,
        verb: &'static str,
        instance: InstanceId,
    ) -> Result<(), RuntimeError> {
        let request = || DeleteTaskRequest {
            container_id: instance.to_string(),
        };
        let found = observe::task(&self.engine, instance).await;
        if let Some(task) = found.map_err(|s| self.failed(verb, instance).because(s))? {
            let runs = !matches!(
                containerd_client::types::v1::Status::try_from(task.status),
                Ok(containerd_client::types::v1::Status::Stopped)
            );
            if runs {
                self.signal(instance, KILL, true).await?;
                // A frozen one takes the signal when it thaws.
                let resume = ResumeTaskRequest {
                    container_id: instance.to_string(),
                };
                if let Err(status) = self.engine.tasks().resume(call(resume)).await {
                    tracing::trace!(%status, "it was not frozen");
                }
                self.ended(instance, GONE_WITHIN).await?;
            }
            match self.engine.tasks().delete(call(request())).await {
                Err(status) if status.code() != Code::NotFound => {
                    return Err(self.failed(verb, instance).because(status));
                }
                _ => {}
            }
        }
        self.groups.forget(instance);
        let home = self.home(instance);
        if home.network_file().exists() {
            let network = Network::find();
            let network =
                network.map_err(|why| self.failed(verb, instance).told(ErrorClass::Retry, why))?;
            let undone = network.remove(&home, instance).await;
            undone.map_err(|e| self.failed(verb, instance).told(ErrorClass::Retry, e))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Runtime for ContainerdRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::CONTAINERD
    }

    async fn capabilities(&self) -> Result<Capabilities, RuntimeError> {
        let version = self.engine.version().version(call(())).await;
        let version = version
            .map_err(|s| unreachable(&self.socket, s))?
            .into_inner()
            .version;
        let mut features = BTreeSet::from([
            Feature::Images,
            Feature::Mounts,
            Feature::Pause,
            Feature::Stats,
            Feature::Users,
        ]);
        let mut missing = Vec::new();
        match Network::find() {
            Ok(_) => _ = features.insert(Feature::Ports),
            Err(why) => missing.push(Missing {
                feature: Feature::Ports,
                why,
            }),
        }
        match Hierarchies::read() {
            Ok(_) => _ = features.insert(Feature::Limits),
            Err(why) => missing.push(Missing {
                feature: Feature::Limits,
                why,
            }),
        }
        Ok(Capabilities {
            version,
            features,
            missing,
        })
    }

    async fn list_owned(&self, worker: Uuid) -> Result<Vec<Observed>, RuntimeError> {
        let found = observe::list(&self.engine, label::WORKER, &worker.to_string()).await;
        let found = found.map_err(|s| self.engine_failed("list instances", s))?;
        let now = SystemTime::now();
        let mut all = Vec::new();
        for (container, task) in found {
            let Some(labels) = observe::labels(&container) else {
                continue;
            };
            let home = self.home(labels.instance);
            let seen = observe::observed(&container, task.as_ref(), &home, self.hierarchies(), now);
            all.extend(seen.map_err(|e| self.failed("inspect", labels.instance).file(e))?);
        }
        Ok(all)
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>, RuntimeError> {
        self.look(instance).await
    }

    async fn ensure(
        &self,
        job: &JobSpec,
        progress: &dyn Progress,
    ) -> Result<Observed, RuntimeError> {
        let instance = job.instance();
        let wanted = image::check(job)?;
        let digest = match self.look(instance).await? {
            Some(have) if have.labels.spec_hash != job.labels.spec_hash => {
                let why = format!("its container holds spec {}", have.labels.spec_hash);
                return Err(RuntimeError::Conflict { instance, why });
            }
            Some(Observed {
                state: State::Created,
                ..
            }) => None,
            Some(have) => return Ok(have),
            None => self.create(job, &wanted, progress).await?,
        };
        progress.step(super::Step::Starting);
        self.start(job).await?;
        let mut seen = self.look_to("start", instance).await?;
        seen.image_digest = digest;
        Ok(seen)
    }

    async fn restart(&self, job: &JobSpec) -> Result<Observed, RuntimeError> {
        let instance = job.instance();
        let seen = self.look_to("restart", instance).await?;
        if matches!(seen.state, State::Running { .. } | State::Paused { .. }) {
            return Ok(seen);
        }
        self.start(job).await?;
        self.look_to("restart", instance).await
    }

    async fn stop(
        &self,
        instance: InstanceId,
        grace: Duration,
    ) -> Result<Option<Exit>, RuntimeError> {
        match self.look(instance).await?.map(|seen| seen.state) {
            None | Some(State::Created) => return Ok(None),
            Some(State::Exited(exit)) => return Ok(Some(exit)),
            Some(State::Running { .. }) => {}
            Some(State::Paused { .. }) => self.resume(instance).await?,
        }
        let run = self.home(instance).run();
        let run = run.map_err(|e| self.failed("stop", instance).file(e))?;
        self.signal(instance, run.map_or(TERM, |run| run.stop_signal), false)
            .await?;
        if !self.ended(instance, grace).await? {
            self.signal(instance, KILL, true).await?;
            self.ended(instance, GONE_WITHIN).await?;
        }
        match self.look(instance).await?.map(|seen| seen.state) {
            None => Ok(None),
            Some(State::Exited(exit)) => Ok(Some(exit)),
            Some(state) => {
                let why = format!("it was killed, yet it is {state:?}");
                Err(self.failed("stop", instance).told(ErrorClass::Retry, why))
            }
        }
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let verb = "remove";
        let failed = |status| self.failed(verb, instance).because(status);
        self.clear_task(verb, instance).await?;
        let id = instance.to_string();
        let request = DeleteContainerRequest { id: id.clone() };
        match self.engine.containers().delete(call(request)).await {
            Err(status) if status.code() != Code::NotFound => return Err(failed(status)),
            _ => {}
        }
        let request = RemoveSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: id,
        };
        match self.engine.snapshots().remove(call(request)).await {
            Err(status) if status.code() != Code::NotFound => return Err(failed(status)),
            _ => {}
        }
        if let Some(groups) = self.hierarchies() {
            // Ours is the parent only: the engine has removed the rest.
            let group = groups.at(&PathBuf::from(spec::CGROUP_PARENT).join(instance.to_string()));
            let removed = tokio::task::spawn_blocking(move || group.remove()).await;
            if let Ok(Err(error)) = removed {
                return Err(self.failed(verb, instance).file(error));
            }
        }
        self.home(instance)
            .remove()
            .map_err(|e| self.failed(verb, instance).file(e))
    }

    async fn pause(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        match self.look_to("pause", instance).await?.state {
            State::Paused { .. } => return Ok(()),
            State::Running { .. } => {}
            _ => {
                return Err(RuntimeError::Gone {
                    instance,
                    verb: "pause",
                });
            }
        }
        let request = PauseTaskRequest {
            container_id: instance.to_string(),
        };
        let paused = self.engine.tasks().pause(call(request)).await;
        paused
            .map(|_| ())
            .map_err(|s| self.failed("pause", instance).because(s))
    }

    async fn resume(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        match self.look_to("resume", instance).await?.state {
            State::Running { .. } => return Ok(()),
            State::Paused { .. } => {}
            _ => {
                return Err(RuntimeError::Gone {
                    instance,
                    verb: "resume",
                });
            }
        }
        let request = ResumeTaskRequest {
            container_id: instance.to_string(),
        };
        let resumed = self.engine.tasks().resume(call(request)).await;
        resumed
            .map(|_| ())
            .map_err(|s| self.failed("resume", instance).because(s))
    }

    async fn stats(&self, instance: InstanceId) -> Result<Stats, RuntimeError> {
        if let Some(stats) = self.groups.usage(instance) {
            return Ok(stats);
        }
        let gone = RuntimeError::Gone {
            instance,
            verb: "measure",
        };
        let seen = self.look_to("measure", instance).await?;
        let (State::Running { pid, .. } | State::Paused { pid, .. }) = seen.state else {
            return Err(gone);
        };
        pid.and_then(|pid| self.groups.find(instance, pid, &instance.to_string()))
            .ok_or(gone)
    }

    async fn tail(&self, instance: InstanceId, max_bytes: usize) -> Result<Vec<u8>, RuntimeError> {
        let verb = "read the output of";
        let seen = self.look_to(verb, instance).await?;
        let home = self.home(instance);
        if matches!(seen.state, State::Exited(_)) {
            home.settled().await;
        }
        home.tail(max_bytes)
            .map_err(|e| self.failed(verb, instance).file(e))
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        rotate(self.state.clone());
        Ok(events::watch(self.engine.clone()))
    }
}

/// Keeps outputs small for as long as the program runs.
fn rotate(state: PathBuf) {
    tokio::spawn(async move {
        let mut every = tokio::time::interval(ROTATE_EVERY);
        loop {
            every.tick().await;
            let state = state.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let homes = std::fs::read_dir(&state).into_iter().flatten().flatten();
                for home in homes {
                    if let Err(error) = Home(home.path()).rotate() {
                        tracing::debug!(%error, at = %home.path().display(), "an output grows");
                    }
                }
            });
            if looked.await.is_err() {
                return;
            }
        }
    });
}
