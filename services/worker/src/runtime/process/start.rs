//! Making, starting and sweeping away an instance's directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, process::Command};

use super::{OTHERS, OUTPUT_CAP, ProcessRuntime, VIEW, WithoutLimits, may, private_dir};
use crate::{
    runtime::{
        ErrorClass, Feature, InstanceId, JobSpec, Observed, RuntimeError, RuntimeKind, State,
        cgroup::{Base, Group, Limits},
        users::{self, User},
    },
    shim::{
        self,
        confine::Confine,
        files::{self, Dir, Durable, Hello, Job, Lease},
    },
};

/// The search path of a job that brings none: the usual one, since the agent's own must not leak.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long another agent's shim may take from its lock to its record.
const START_WITHIN: Duration = Duration::from_secs(10);

impl ProcessRuntime {
    /// Refuses what no native job can have.
    pub(super) fn check(&self, job: &JobSpec) -> Result<(), RuntimeError> {
        let invalid = |field, why: &str| {
            let runtime = RuntimeKind::PROCESS;
            Err(RuntimeError::Invalid {
                runtime,
                field,
                why: why.to_owned(),
            })
        };
        if job.image.is_some() {
            return invalid("image", "a native job has no image");
        }
        if job.command.is_empty() {
            return invalid("command", "a native job needs a program");
        }
        self.user(job)?;
        let needs_view = !job.mounts.is_empty() || job.sandbox.read_only;
        if needs_view && !may(VIEW) {
            return Err(RuntimeError::Unsupported {
                runtime: RuntimeKind::PROCESS,
                feature: Feature::Mounts,
                why: "this worker is not root".to_owned(),
            });
        }
        let texts = job.command.iter().chain(&job.args).chain(job.env.values());
        if texts.chain(job.env.keys()).any(|t| t.contains('\0')) {
            return invalid("command", "a NUL byte cannot be passed to a program");
        }
        if job.env.keys().any(|k| k.is_empty() || k.contains('=')) {
            return invalid("env", "a name is empty or holds `=`");
        }
        if let Err(why) = self.base()
            && limits(job).asked()
            && self.config.without_limits == WithoutLimits::Refuse
        {
            let (runtime, feature) = (RuntimeKind::PROCESS, Feature::Limits);
            let why = format!("control groups cannot be made: {why}");
            return Err(RuntimeError::Unsupported {
                runtime,
                feature,
                why,
            });
        }
        Ok(())
    }

    /// Makes the directory whole, or not at all.
    pub(super) fn make(&self, job: &JobSpec) -> io::Result<()> {
        let dir = self.dir(job.instance());
        let making = Dir(making(&dir));
        for stale in [&making.0, &dir.0] {
            remove_dir(stale)?;
        }
        private_dir(&making.work())?;
        private_dir(&making.view())?;
        if let Ok(Some(user)) = self.user(job) {
            std::os::unix::fs::chown(making.work(), Some(user.uid), Some(user.gid))?;
        }
        files::write(&making.job(), &self.record(job), Durable::No)?;
        fs::rename(&making.0, &dir.0)
    }

    fn record(&self, job: &JobSpec) -> Job {
        let mut env = job.env.clone();
        env.entry("PATH".to_owned())
            .or_insert_with(|| PATH.to_owned());
        let work = self.dir(job.instance()).work();
        Job {
            labels: job.labels.clone(),
            name: job.name.clone(),
            argv: job.command.iter().chain(&job.args).cloned().collect(),
            env: env.into_iter().collect(),
            cwd: job.working_dir.as_ref().map_or(work, Into::into),
            group: self.group(job.instance()),
            output_cap: OUTPUT_CAP,
            lease: job.lease.map(|until| Lease {
                until_ms: millis(until),
                grace_ms: millis(job.stop_grace),
            }),
            stop_signal: job.stop_signal,
            confine: Some(Confine {
                // Checked before.
                user: self.user(job).unwrap_or_default(),
                sandbox: job.sandbox.clone(),
                mounts: job.mounts.clone(),
                view: may(VIEW)
                    && !(job.sandbox.privileged && job.mounts.is_empty() && !job.sandbox.read_only),
            }),
        }
    }

    /// Who the job runs as, by the node's own files; `None` is the worker's user.
    fn user(&self, job: &JobSpec) -> Result<Option<User>, RuntimeError> {
        let Some(text) = job.user.as_ref().or(self.config.user.as_ref()) else {
            return Ok(None);
        };
        let file = |name: &str| users::read(Path::new("/"), name).unwrap_or_default();
        let user = users::find(text, file).map_err(|name| RuntimeError::Invalid {
            runtime: RuntimeKind::PROCESS,
            field: "user",
            why: format!("this node has no user or group `{name}`"),
        })?;
        if user.uid != rustix::process::geteuid().as_raw() && !may(OTHERS) {
            return Err(RuntimeError::Unsupported {
                runtime: RuntimeKind::PROCESS,
                feature: Feature::Users,
                why: "this worker is not root".to_owned(),
            });
        }
        Ok(Some(user))
    }

    fn group(&self, instance: InstanceId) -> Option<Group> {
        self.base()
            .ok()
            .map(|base| base.group(&instance.to_string()))
    }

    /// Starts a shim in a directory that exists and waits until the job runs.
    pub(super) async fn start(&self, job: &JobSpec) -> Result<Observed, RuntimeError> {
        let instance = job.instance();
        let failed = |error| Self::io("start", instance)(error);
        let until = Instant::now() + START_WITHIN;
        loop {
            if let Some(observed) = self.until_free(instance).await? {
                return Ok(observed);
            }
            let dir = self.dir(instance);
            files::write(&dir.job(), &self.record(job), Durable::No).map_err(failed)?;
            if let Some(group) = self.group(instance) {
                // Fresh counters for every run: out-of-memory kills cannot be reset. Nothing is inside, since no shim lives.
                group
                    .remove()
                    .and_then(|()| group.create(&limits(job)))
                    .map_err(failed)?;
            }
            match self.spawn(&dir).await.map_err(failed)? {
                Hello::Started => break,
                // Another agent's shim came in between.
                Hello::Busy if Instant::now() < until => {}
                Hello::Busy => {
                    let why = "another shim holds its directory";
                    return Err(Self::failed("start", instance, ErrorClass::Retry, why));
                }
                Hello::Failed { permanent, why } => {
                    let class = if permanent {
                        ErrorClass::Permanent
                    } else {
                        ErrorClass::Retry
                    };
                    return Err(Self::failed("start", instance, class, why));
                }
            }
        }
        let started = self.look(instance).map_err(failed)?;
        started.ok_or(RuntimeError::Gone {
            instance,
            verb: "start",
        })
    }

    /// Waits while a shim that has just taken its lock, or is about to let go, decides what the instance is. `None` once no shim
    /// lives, the instance where it runs.
    pub(super) async fn until_free(
        &self,
        instance: InstanceId,
    ) -> Result<Option<Observed>, RuntimeError> {
        let until = Instant::now() + START_WITHIN;
        while self.shim_lives(instance) {
            match self.look(instance).map_err(Self::io("start", instance))? {
                Some(o) if matches!(o.state, State::Running { .. } | State::Paused { .. }) => {
                    return Ok(Some(o));
                }
                _ if Instant::now() > until => {
                    let why = "its shim neither runs it nor ends";
                    return Err(Self::failed("start", instance, ErrorClass::Retry, why));
                }
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        Ok(None)
    }

    async fn spawn(&self, dir: &Dir) -> io::Result<Hello> {
        let mut child = Command::new(&self.shim)
            .arg0("edgeio-worker")
            .arg(shim::ARGUMENT)
            .arg(&dir.0)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut line).await?;
        }
        // Not waited for: the shim outlives us; the tokio runtime reaps those that end before.
        drop(child);
        serde_json::from_str(&line).map_err(|e| {
            let shim = self.shim.display();
            io::Error::other(format!(
                "`{shim} {}` did not answer as a shim: {e}",
                shim::ARGUMENT
            ))
        })
    }
}

fn limits(job: &JobSpec) -> Limits {
    Limits {
        cpu_millis: job.cpu_millis,
        memory_bytes: job.memory_bytes,
        pids: Some(i64::from(job.sandbox.pids)),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Where a directory is while it is made.
fn making(dir: &Dir) -> PathBuf {
    dir.0.with_extension("making")
}

/// Takes away an instance whose shim is gone. Blocking.
pub(super) fn sweep(dir: &Dir, base: Option<&Base>, instance: InstanceId) -> io::Result<()> {
    // The record knows the groups of then; where it is torn, those of now.
    let recorded = files::read::<Job>(&dir.job())
        .ok()
        .flatten()
        .and_then(|job| job.group);
    if let Some(group) = recorded.or_else(|| base.map(|b| b.group(&instance.to_string()))) {
        group.remove()?;
    }
    remove_dir(&making(dir))?;
    remove_dir(&dir.0)
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
