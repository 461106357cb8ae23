//! Containers by the Docker Engine, over its Unix socket.
//!
//! The engine is the memory: instances are found by label, never by what this object remembers (the ids it caches are checked by every use).
//! The engine's own restart policy stays off, restarts are the agent's. Creating is optimistic: the container is asked for at once, and
//! only the engine's refusal (no such image, name taken) makes us look further, since each look would cost as much as the rest of our overhead.
//!
//! Deliberately absent: TCP and TLS (the worker is on the engine's node).

mod create;
mod errors;
mod events;
mod observe;
mod pull;
mod stats;

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    container::LogOutput,
    query_parameters::{
        CreateContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        StartContainerOptions, StopContainerOptionsBuilder,
    },
};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use tokio::sync::OnceCell;
use uuid::Uuid;

use self::errors::{Failure, status};
use super::{
    Capabilities, ErrorClass, Exit, Feature, InstanceId, JobSpec, Missing, Observed, Progress,
    PullPolicy, Runtime, RuntimeError, RuntimeEvent, RuntimeKind, State, Stats, Step,
    cgroup::Known,
    label,
    registries::{Registries, of_repository},
};

/// Where the engine listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// How long the engine may take to begin an answer, in seconds. Creating on a loaded small node takes several; a pull or a stop has its own.
const ANSWER_WITHIN: u64 = 120;

/// Where the engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfig {
    /// Its Unix socket.
    pub socket: PathBuf,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
        }
    }
}

impl DockerConfig {
    /// The socket that `DOCKER_HOST` names, if it is a Unix one, else the usual one.
    pub fn from_host(docker_host: Option<&str>) -> Self {
        let path = docker_host.and_then(|host| host.strip_prefix("unix://"));
        path.map_or_else(Self::default, |path| Self {
            socket: path.into(),
        })
    }
}

/// The runtime of Docker containers.
pub struct DockerRuntime {
    socket: String,
    client: OnceCell<Docker>,
    /// Container ids by instance, to save a look: a container keeps its id for life.
    ids: Mutex<HashMap<InstanceId, String>>,
    groups: Known,
    registries: Registries,
}

impl DockerRuntime {
    /// A driver of the engine at the socket. Connects when first used, and whenever the engine is back.
    pub fn new(config: &DockerConfig) -> Self {
        Self {
            socket: config.socket.display().to_string(),
            client: OnceCell::new(),
            ids: Mutex::default(),
            groups: Known::default(),
            registries: Registries::default(),
        }
    }

    /// The same, that fetches images as these registries want.
    #[must_use]
    pub fn with_registries(self, registries: Registries) -> Self {
        Self { registries, ..self }
    }

    async fn pull(
        &self,
        image: &pull::Reference,
        progress: &dyn Progress,
    ) -> Result<(), RuntimeError> {
        progress.step(Step::Pulling {
            current: 0,
            total: 0,
        });
        let _turn = self.registries.turn().await;
        let registry = of_repository(image.repository());
        let who = self.registries.credential(registry, &image.to_string())?;
        pull::pull(self.docker().await?, &self.socket, image, who, progress).await
    }

    /// The client; it opens a connection a call and keeps idle ones, so that an engine's restart is survived.
    async fn docker(&self) -> Result<&Docker, RuntimeError> {
        let connect = || async {
            let docker =
                Docker::connect_with_unix(&self.socket, ANSWER_WITHIN, API_DEFAULT_VERSION)?;
            docker.negotiate_version().await
        };
        self.client
            .get_or_try_init(connect)
            .await
            .map_err(|e| self.unreachable(e))
    }

    fn unreachable(&self, error: bollard::errors::Error) -> RuntimeError {
        let (runtime, at) = (RuntimeKind::DOCKER, self.socket.clone());
        RuntimeError::Reach {
            runtime,
            at,
            source: error.into(),
        }
    }

    fn failed(&self, verb: &'static str, instance: InstanceId) -> Failure<'_> {
        Failure {
            socket: &self.socket,
            verb,
            instance,
        }
    }

    fn remember(&self, instance: InstanceId, id: &str) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.insert(instance, id.to_owned());
    }

    fn forget(&self, instance: InstanceId) {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&instance);
        self.groups.forget(instance);
    }

    /// The container of an instance.
    async fn id_of(&self, instance: InstanceId) -> Result<Option<String>, RuntimeError> {
        let known = {
            let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            ids.get(&instance).cloned()
        };
        if known.is_some() {
            return Ok(known);
        }
        let filter = format!("{}={instance}", label::INSTANCE);
        let found = observe::list(self.docker().await?, &filter).await;
        let found = found.map_err(|e| self.failed("inspect", instance).because(e))?;
        if let Some(id) = found.first() {
            self.remember(instance, id);
        }
        Ok(found.into_iter().next())
    }

    async fn id_to(
        &self,
        verb: &'static str,
        instance: InstanceId,
    ) -> Result<String, RuntimeError> {
        self.id_of(instance)
            .await?
            .ok_or(RuntimeError::Gone { instance, verb })
    }

    async fn start(&self, id: &str, instance: InstanceId) -> Result<(), RuntimeError> {
        let started = self
            .docker()
            .await?
            .start_container(id, None::<StartContainerOptions>)
            .await;
        started.map_err(|e| self.failed("start", instance).because(e))
    }

    /// Creates the container, with its image. The id, and whether it is new.
    async fn create(
        &self,
        job: &JobSpec,
        image: &pull::Reference,
        progress: &dyn Progress,
    ) -> Result<(String, bool), RuntimeError> {
        let (docker, instance) = (self.docker().await?, job.instance());
        if job.pull == PullPolicy::Always {
            // What exists is adopted, whatever the registry says now.
            if let Some(id) = self.id_of(instance).await? {
                return Ok((id, false));
            }
            self.pull(image, progress).await?;
        }
        progress.step(Step::Creating);
        let mut pulled = job.pull == PullPolicy::Always;
        loop {
            let options = CreateContainerOptionsBuilder::new().name(&job.name).build();
            let body = create::body(job, image);
            let error = match docker.create_container(Some(options), body).await {
                Ok(created) => {
                    self.remember(instance, &created.id);
                    return Ok((created.id, true));
                }
                Err(error) => error,
            };
            match status(&error) {
                Some(409) => return self.taken(job).await.map(|id| (id, false)),
                Some(404) if errors::no_such_image(&error) && !pulled => {
                    if job.pull == PullPolicy::Never {
                        return Err(RuntimeError::ImageAbsent {
                            image: image.to_string(),
                        });
                    }
                    self.pull(image, progress).await?;
                    pulled = true;
                    progress.step(Step::Creating);
                }
                _ => return Err(self.failed("create", instance).because(error)),
            }
        }
    }

    /// Whose container it is that has our name: ours, or a stranger's.
    async fn taken(&self, job: &JobSpec) -> Result<String, RuntimeError> {
        let instance = job.instance();
        self.forget(instance);
        self.id_of(instance)
            .await?
            .ok_or_else(|| RuntimeError::Conflict {
                instance,
                why: format!("another container is named `{}`", job.name),
            })
    }

    async fn inspect(
        &self,
        id: &str,
        instance: InstanceId,
    ) -> Result<Option<Observed>, RuntimeError> {
        let seen = observe::inspect(self.docker().await?, id).await;
        let seen = seen.map_err(|e| self.failed("inspect", instance).because(e))?;
        if seen.is_none() {
            self.forget(instance);
        }
        Ok(seen)
    }

    /// The digest of the image in its registry, where it came from one.
    async fn digest(&self, image: &pull::Reference) -> Option<String> {
        // Only a hint for later instances: without it they follow the tag.
        let found = self
            .docker()
            .await
            .ok()?
            .inspect_image(&image.to_string())
            .await
            .ok()?;
        let digests = found.repo_digests?;
        digests.iter().find_map(|d| {
            Some(
                d.strip_prefix(image.repository())?
                    .strip_prefix('@')?
                    .to_owned(),
            )
        })
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::DOCKER
    }

    async fn capabilities(&self) -> Result<Capabilities, RuntimeError> {
        let docker = self.docker().await?;
        let (version, info) =
            tokio::try_join!(docker.version(), docker.info()).map_err(|e| self.unreachable(e))?;
        let mut features = BTreeSet::from([
            Feature::Images,
            Feature::Mounts,
            Feature::Pause,
            Feature::Ports,
            Feature::Stats,
            Feature::Users,
        ]);
        let mut missing = Vec::new();
        if info.memory_limit == Some(true) && info.cpu_cfs_quota == Some(true) {
            features.insert(Feature::Limits);
        } else {
            let warnings = info.warnings.unwrap_or_default();
            let why = format!(
                "the engine cannot limit memory and CPU here: {}",
                warnings.join("; ")
            );
            missing.push(Missing {
                feature: Feature::Limits,
                why,
            });
        }
        Ok(Capabilities {
            version: version.version.unwrap_or_default(),
            features,
            missing,
        })
    }

    async fn list_owned(&self, worker: Uuid) -> Result<Vec<Observed>, RuntimeError> {
        let docker = self.docker().await?;
        let failed = |e: bollard::errors::Error| {
            if errors::is_unreachable(&e) {
                return self.unreachable(e);
            }
            let (verb, runtime) = ("list instances", RuntimeKind::DOCKER);
            RuntimeError::Engine {
                verb,
                runtime,
                source: e.into(),
            }
        };
        let ids = observe::list(docker, &format!("{}={worker}", label::WORKER)).await;
        // A list tells neither start nor exit code; eight looks at a time keep the engine busy and no more.
        let looks = ids.map_err(failed)?.into_iter().map(|id| async move {
            let seen = observe::inspect(docker, &id).await?;
            Ok::<_, bollard::errors::Error>(seen.map(|seen| (id, seen)))
        });
        let seen: Vec<_> = stream::iter(looks)
            .buffered(8)
            .try_collect()
            .await
            .map_err(failed)?;
        let mut all = Vec::new();
        for (id, observed) in seen.into_iter().flatten() {
            self.remember(observed.instance(), &id);
            all.push(observed);
        }
        Ok(all)
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>, RuntimeError> {
        match self.id_of(instance).await? {
            Some(id) => self.inspect(&id, instance).await,
            None => Ok(None),
        }
    }

    async fn ensure(
        &self,
        job: &JobSpec,
        progress: &dyn Progress,
    ) -> Result<Observed, RuntimeError> {
        let instance = job.instance();
        let image = create::check(job)?;
        let (id, new) = self.create(job, &image, progress).await?;
        if !new {
            match self.inspect(&id, instance).await? {
                Some(have) if have.labels.spec_hash != job.labels.spec_hash => {
                    let why = format!("its container holds spec {}", have.labels.spec_hash);
                    return Err(RuntimeError::Conflict { instance, why });
                }
                Some(Observed {
                    state: State::Created,
                    ..
                }) => {}
                Some(have) => return Ok(have),
                None => {
                    let why = "its container is being removed";
                    return Err(self.failed("create", instance).told(ErrorClass::Retry, why));
                }
            }
        }
        progress.step(Step::Starting);
        // The digest costs no time beside the start.
        let digest = async {
            match &job.image_digest {
                Some(digest) => Some(digest.clone()),
                None => self.digest(&image).await,
            }
        };
        let (started, digest) = tokio::join!(self.start(&id, instance), digest);
        started?;
        let seen = self.inspect(&id, instance).await?;
        let mut seen = seen.ok_or(RuntimeError::Gone {
            instance,
            verb: "start",
        })?;
        seen.image_digest = digest;
        Ok(seen)
    }

    async fn restart(&self, job: &JobSpec) -> Result<Observed, RuntimeError> {
        let instance = job.instance();
        let id = self.id_to("restart", instance).await?;
        let gone = RuntimeError::Gone {
            instance,
            verb: "restart",
        };
        match self.inspect(&id, instance).await? {
            None => Err(gone),
            Some(seen) if matches!(seen.state, State::Running { .. } | State::Paused { .. }) => {
                Ok(seen)
            }
            Some(_) => {
                self.start(&id, instance).await?;
                self.inspect(&id, instance).await?.ok_or(gone)
            }
        }
    }

    async fn stop(
        &self,
        instance: InstanceId,
        grace: Duration,
    ) -> Result<Option<Exit>, RuntimeError> {
        let Some(id) = self.id_of(instance).await? else {
            return Ok(None);
        };
        match self.inspect(&id, instance).await? {
            None
            | Some(Observed {
                state: State::Created,
                ..
            }) => return Ok(None),
            Some(Observed {
                state: State::Exited(exit),
                ..
            }) => return Ok(Some(exit)),
            Some(_) => {}
        }
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptionsBuilder::new()
            .t(i32::try_from(seconds).unwrap_or(i32::MAX))
            .build();
        // The engine answers when it has stopped: the grace comes on top of what an answer may take.
        let patient = Duration::from_secs(seconds.saturating_add(ANSWER_WITHIN));
        let docker = self.docker().await?.clone().with_timeout(patient);
        match docker.stop_container(&id, Some(options)).await {
            Err(e) if status(&e) == Some(404) => return Ok(None),
            other => other.map_err(|e| self.failed("stop", instance).because(e))?,
        }
        match self.inspect(&id, instance).await? {
            None => Ok(None),
            Some(Observed {
                state: State::Exited(exit),
                ..
            }) => Ok(Some(exit)),
            Some(seen) => {
                let why = format!("the engine says it stopped, yet it is {:?}", seen.state);
                Err(self.failed("stop", instance).told(ErrorClass::Retry, why))
            }
        }
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let Some(id) = self.id_of(instance).await? else {
            return Ok(());
        };
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        let removed = self
            .docker()
            .await?
            .remove_container(&id, Some(options))
            .await;
        match removed {
            Err(e) if status(&e) != Some(404) => {
                return Err(self.failed("remove", instance).because(e));
            }
            _ => self.forget(instance),
        }
        Ok(())
    }

    async fn pause(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let id = self.id_to("pause", instance).await?;
        let Err(error) = self.docker().await?.pause_container(&id).await else {
            return Ok(());
        };
        match self.inspect(&id, instance).await?.map(|seen| seen.state) {
            Some(State::Paused { .. }) => Ok(()),
            Some(State::Running { .. }) => Err(self.failed("pause", instance).because(error)),
            _ => Err(RuntimeError::Gone {
                instance,
                verb: "pause",
            }),
        }
    }

    async fn resume(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let id = self.id_to("resume", instance).await?;
        let Err(error) = self.docker().await?.unpause_container(&id).await else {
            return Ok(());
        };
        match self.inspect(&id, instance).await?.map(|seen| seen.state) {
            Some(State::Running { .. }) => Ok(()),
            Some(State::Paused { .. }) => Err(self.failed("resume", instance).because(error)),
            _ => Err(RuntimeError::Gone {
                instance,
                verb: "resume",
            }),
        }
    }

    async fn stats(&self, instance: InstanceId) -> Result<Stats, RuntimeError> {
        if let Some(stats) = self.groups.usage(instance) {
            return Ok(stats);
        }
        let id = self.id_to("measure", instance).await?;
        let seen = self.inspect(&id, instance).await?;
        let pid = match seen.map(|seen| seen.state) {
            Some(State::Running { pid, .. } | State::Paused { pid, .. }) => pid,
            _ => {
                return Err(RuntimeError::Gone {
                    instance,
                    verb: "measure",
                });
            }
        };
        if let Some(stats) = pid.and_then(|pid| self.groups.find(instance, pid, &id)) {
            return Ok(stats);
        }
        let asked = stats::ask(self.docker().await?, &id).await;
        asked.map_err(|e| self.failed("measure", instance).because(e))
    }

    async fn tail(&self, instance: InstanceId, max_bytes: usize) -> Result<Vec<u8>, RuntimeError> {
        let verb = "read the output of";
        let id = self.id_to(verb, instance).await?;
        // The engine counts lines: as many as there can be bytes, of which the last are kept.
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&max_bytes.to_string())
            .build();
        let mut kept: Vec<u8> = Vec::new();
        let mut chunks = self.docker().await?.logs(&id, Some(options));
        while let Some(chunk) = chunks.next().await {
            let chunk: LogOutput = chunk.map_err(|e| self.failed(verb, instance).because(e))?;
            kept.extend_from_slice(&chunk.into_bytes());
            // Trimmed now and then: long lines must not all be held.
            if kept.len() > max_bytes.saturating_mul(4).max(65_536) {
                kept.drain(..kept.len() - max_bytes);
            }
        }
        kept.drain(..kept.len().saturating_sub(max_bytes));
        Ok(kept)
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        Ok(events::watch(self.docker().await?.clone()))
    }
}
