//! Native processes: each instance a directory, a shim and, where the node allows, control groups.
//!
//! The directories are the engine's memory: `<dir>/jobs/<instance>/` (its files in [`crate::shim::files`]), made whole by a
//! rename, found by listing. Whether an instance runs is never guessed from a process id: its shim holds a lock as long as it lives. Deliberately
//! absent: images (the program is on the node already), port publishing (a native job binds its own), and limits where the
//! kernel gives us no control groups; such a node says so, and a job that asks for limits is refused there.

mod attend;
mod events;
mod observe;
mod start;

use std::{
    collections::BTreeSet,
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use rustix::thread::CapabilitySet;
use uuid::Uuid;

use super::{
    Capabilities, ErrorClass, Exit, Feature, InstanceId, JobSpec, Missing, Observed, Progress,
    Runtime, RuntimeError, RuntimeEvent, RuntimeKind, State, Stats, Step,
    cgroup::{Base, Hierarchies},
};
use crate::shim::{
    files::{Dir, hint},
    proc,
};

/// How much output is kept in each of an instance's two files. Two such files for a hundred instances are 200 MiB, which the
/// disks of small nodes bear; the last minutes of a talkative job still fit.
pub const OUTPUT_CAP: u64 = 1 << 20;

/// This process's binary by its inode: a path would name another file, or none, once an upgrade has replaced it.
const OWN_BINARY: &str = "/proc/self/exe";

/// How long a shim may take beyond the grace to have killed and written down all. It gives up on unkillable tasks after 10 s itself.
const STOP_MARGIN: Duration = Duration::from_secs(20);

/// What it takes to give a job a view of its own of the file system.
const VIEW: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_CHROOT);
/// What it takes to run a job as another user.
const OTHERS: CapabilitySet = CapabilitySet::SETUID.union(CapabilitySet::SETGID);

/// Where and how native jobs run.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// Holds `jobs` and `events`; the worker's own.
    pub dir: PathBuf,
    /// A binary whose `main` begins with [`crate::shim::dispatch`]; `None` is this process's own, also after the file was
    /// replaced by an upgrade.
    pub shim: Option<PathBuf>,
    /// Where control groups are made, below the mounts; `None` searches.
    pub cgroup_parent: Option<PathBuf>,
    /// What to do with a job that asks for limits on a node without control groups.
    pub without_limits: WithoutLimits,
    /// Who a job runs as that names nobody: `USER` or `USER:GROUP` of the node. `None` is the worker's own user.
    pub user: Option<String>,
}

impl ProcessConfig {
    /// The usual configuration in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            shim: None,
            cgroup_parent: None,
            without_limits: WithoutLimits::Refuse,
            user: None,
        }
    }
}

/// What to do with a job that asks for limits where they cannot be enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutLimits {
    /// Refuse it: [`RuntimeError::Unsupported`].
    #[default]
    Refuse,
    /// Run it unlimited.
    Run,
}

/// The runtime of native processes.
pub struct ProcessRuntime {
    config: ProcessConfig,
    jobs: PathBuf,
    hints: PathBuf,
    shim: PathBuf,
    attendance: attend::Attendance,
    /// Found once: what a node allows does not change under a running agent.
    base: OnceLock<Result<Base, String>>,
}

impl ProcessRuntime {
    /// Opens or makes the directories.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn open(config: ProcessConfig) -> Result<Self, RuntimeError> {
        // Shims are started elsewhere: a relative path would mean another place there.
        let unreachable = |source: io::Error| RuntimeError::Reach {
            runtime: RuntimeKind::PROCESS,
            at: config.dir.display().to_string(),
            source: source.into(),
        };
        let dir = std::path::absolute(&config.dir).map_err(unreachable)?;
        let jobs = dir.join("jobs");
        let hints = hint::dir(&jobs);
        for dir in [&jobs, &hints] {
            private_dir(dir).map_err(unreachable)?;
        }
        let shim = config.shim.clone().unwrap_or_else(|| OWN_BINARY.into());
        Ok(Self {
            config,
            jobs,
            attendance: attend::Attendance::new(hints.clone()),
            hints,
            shim,
            base: OnceLock::new(),
        })
    }

    fn dir(&self, instance: InstanceId) -> Dir {
        Dir(self.jobs.join(instance.to_string()))
    }

    fn base(&self) -> Result<&Base, &str> {
        let found = self
            .base
            .get_or_init(|| Hierarchies::read()?.base(self.config.cgroup_parent.as_deref()));
        found.as_ref().map_err(String::as_str)
    }

    fn failed(
        verb: &'static str,
        instance: InstanceId,
        class: ErrorClass,
        source: impl Into<super::BoxError>,
    ) -> RuntimeError {
        RuntimeError::Verb {
            verb,
            instance,
            class,
            source: source.into(),
        }
    }

    fn io(verb: &'static str, instance: InstanceId) -> impl FnOnce(io::Error) -> RuntimeError {
        move |error| Self::failed(verb, instance, ErrorClass::Retry, error)
    }

    /// Asks a living shim for something.
    fn ask(dir: &Dir, request: &str) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        // Without a reader the kernel refuses, so a request is never left for a later shim.
        let opened = options
            .write(true)
            .custom_flags(flags.cast_signed())
            .open(dir.control());
        opened?.write_all(format!("{request}\n").as_bytes())
    }

    async fn wait_for_exit(
        &self,
        instance: InstanceId,
        grace: Duration,
    ) -> Result<Option<Exit>, RuntimeError> {
        let until = Instant::now() + grace + STOP_MARGIN;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.look(instance).map_err(Self::io("stop", instance))? {
                Some(Observed {
                    state: State::Exited(exit),
                    ..
                }) => return Ok(Some(exit)),
                None => return Ok(None),
                // Its lease ended it first.
                Some(Observed {
                    state: State::Created,
                    ..
                }) if !self.shim_lives(instance) => return Ok(None),
                Some(_) if Instant::now() > until => {
                    let why = "the shim has not ended it in time";
                    return Err(Self::failed("stop", instance, ErrorClass::Retry, why));
                }
                Some(_) => {}
            }
            tokio::time::sleep(pause).await;
            // Short at first, as most jobs end at once on TERM; long later, so that waiting out a grace costs nothing.
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// Whether this worker has the powers.
fn may(needed: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

fn private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::PROCESS
    }

    async fn capabilities(&self) -> Result<Capabilities, RuntimeError> {
        let mut features = BTreeSet::from([Feature::Pause, Feature::Stats]);
        let mut missing = vec![
            Missing {
                feature: Feature::Images,
                why: "native jobs run what the node has".into(),
            },
            Missing {
                feature: Feature::Ports,
                why: "native jobs bind their own ports".into(),
            },
        ];
        for (feature, needed, why) in [
            (
                Feature::Mounts,
                VIEW,
                "native jobs get a view of their own of the file system only where the worker is root",
            ),
            (
                Feature::Users,
                OTHERS,
                "native jobs run as another user only where the worker is root",
            ),
        ] {
            if may(needed) {
                features.insert(feature);
            } else {
                let why = why.to_owned();
                missing.push(Missing { feature, why });
            }
        }
        match self.base() {
            Ok(_) => {
                features.insert(Feature::Limits);
            }
            Err(why) => {
                let why = format!("control groups cannot be made: {why}");
                missing.push(Missing {
                    feature: Feature::Limits,
                    why,
                });
            }
        }
        let version = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Capabilities {
            version: version.trim().to_owned(),
            features,
            missing,
        })
    }

    async fn list_owned(&self, worker: Uuid) -> Result<Vec<Observed>, RuntimeError> {
        let failed = |e: io::Error| RuntimeError::Engine {
            verb: "list instances",
            runtime: RuntimeKind::PROCESS,
            source: e.into(),
        };
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.jobs).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(id) = name.to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            match self.look(InstanceId(id)) {
                Ok(Some(observed)) if observed.labels.worker == worker => all.push(observed),
                Ok(_) => {}
                // One torn record must not hide the others; `ensure` and `remove` mend it.
                Err(error) => tracing::warn!(%error, instance = %id, "instance is unreadable"),
            }
        }
        Ok(all)
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>, RuntimeError> {
        self.look(instance).map_err(Self::io("inspect", instance))
    }

    async fn ensure(
        &self,
        job: &JobSpec,
        progress: &dyn Progress,
    ) -> Result<Observed, RuntimeError> {
        let instance = job.instance();
        self.check(job)?;
        match self.look(instance) {
            Ok(Some(have)) if have.labels.spec_hash != job.labels.spec_hash => {
                let why = format!("its directory holds spec {}", have.labels.spec_hash);
                return Err(RuntimeError::Conflict { instance, why });
            }
            Ok(Some(Observed {
                state: State::Created,
                ..
            })) => {}
            Ok(Some(have)) => return Ok(have),
            Ok(None) => {
                progress.step(Step::Creating);
                self.make(job).map_err(Self::io("create", instance))?;
            }
            Err(error)
                if error.kind() == io::ErrorKind::InvalidData && !self.shim_lives(instance) =>
            {
                // Torn by a power cut before it ever ran durably: made anew.
                progress.step(Step::Creating);
                self.make(job).map_err(Self::io("create", instance))?;
            }
            Err(error) => return Err(Self::io("inspect", instance)(error)),
        }
        progress.step(Step::Starting);
        self.start(job).await
    }

    async fn restart(&self, job: &JobSpec) -> Result<Observed, RuntimeError> {
        let instance = job.instance();
        self.check(job)?;
        match self.observe(instance).await? {
            None => Err(RuntimeError::Gone {
                instance,
                verb: "restart",
            }),
            Some(Observed {
                state: State::Running { .. } | State::Paused { .. },
                ..
            }) => self.start(job).await,
            Some(_) => self.start(job).await,
        }
    }

    async fn stop(
        &self,
        instance: InstanceId,
        grace: Duration,
    ) -> Result<Option<Exit>, RuntimeError> {
        match self.observe(instance).await? {
            None => return Ok(None),
            Some(Observed {
                state: State::Exited(exit),
                ..
            }) => return Ok(Some(exit)),
            Some(Observed {
                state: State::Created,
                ..
            }) if !self.shim_lives(instance) => {
                return Ok(None);
            }
            Some(_) => {}
        }
        let request = format!("stop {}", grace.as_millis());
        match Self::ask(&self.dir(instance), &request) {
            // No reader, no pipe: the shim is just ending, or just starting; what it writes is waited for.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {}
            other => other.map_err(Self::io("stop", instance))?,
        }
        self.wait_for_exit(instance, grace).await
    }

    async fn remove(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        if self.shim_lives(instance) {
            self.stop(instance, Duration::ZERO).await?;
            self.until_free(instance).await?;
        }
        let (dir, hints) = (self.dir(instance), self.hints.clone());
        let base = self.base().ok().cloned();
        // Control groups of just killed tasks take a while to empty: off the async threads.
        let swept =
            tokio::task::spawn_blocking(move || start::sweep(&dir, base.as_ref(), instance));
        let swept = swept.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        swept.map_err(Self::io("remove", instance))?;
        hint::leave(&hints, instance, "removed");
        hint::clear(&hints, instance);
        Ok(())
    }

    fn renew(&self, instance: InstanceId, until: Duration) -> bool {
        Self::ask(&self.dir(instance), &format!("lease {}", until.as_millis())).is_ok()
    }

    async fn pause(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let (tree, state) = self.live(instance, "pause")?;
        if matches!(state, State::Paused { .. }) {
            return Ok(());
        }
        // May wait for tasks to come out of the kernel.
        let frozen = tokio::task::spawn_blocking(move || tree.freeze()).await;
        let frozen = frozen.unwrap_or_else(|e| Err(io::Error::other(e)));
        frozen.map_err(Self::io("pause", instance))?;
        hint::leave(&self.hints, instance, "paused");
        Ok(())
    }

    async fn resume(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        let (tree, state) = self.live(instance, "resume")?;
        if matches!(state, State::Running { .. }) {
            return Ok(());
        }
        let thawed = tokio::task::spawn_blocking(move || tree.thaw()).await;
        thawed.map_err(|e| Self::io("resume", instance)(io::Error::other(e)))?;
        if matches!(self.live(instance, "resume")?.1, State::Paused { .. }) {
            return Err(Self::failed(
                "resume",
                instance,
                ErrorClass::Retry,
                "it stays frozen",
            ));
        }
        hint::leave(&self.hints, instance, "resumed");
        Ok(())
    }

    async fn stats(&self, instance: InstanceId) -> Result<Stats, RuntimeError> {
        let (tree, _) = self.live(instance, "measure")?;
        if let Some(group) = &tree.group {
            return group.usage().map_err(Self::io("measure", instance));
        }
        let mut sum = Stats::default();
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        for stat in tree.below().into_iter().filter_map(proc::stat) {
            sum.cpu_ns_total += stat.cpu_ticks * tick_ns;
            sum.memory_bytes += stat.rss_pages * page;
        }
        Ok(sum)
    }

    async fn tail(&self, instance: InstanceId, max_bytes: usize) -> Result<Vec<u8>, RuntimeError> {
        let dir = self.dir(instance);
        if !dir.job().exists() {
            return Err(RuntimeError::Gone {
                instance,
                verb: "read the output of",
            });
        }
        crate::shim::output::tail(&dir.output(), max_bytes)
            .map_err(Self::io("read the output of", instance))
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        events::watch(&self.hints).map_err(|e| RuntimeError::Engine {
            verb: "watch events",
            runtime: RuntimeKind::PROCESS,
            source: e.into(),
        })
    }
}
