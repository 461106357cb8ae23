//! Containers as the Docker Engine shows them: found by the labels of our workers, never by what edgeio says.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use bollard::{
    Docker, body_full,
    query_parameters::{
        CreateImageOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions,
        ListContainersOptionsBuilder,
    },
};
use futures::TryStreamExt;

use super::binaries::tool;

/// The label that names the worker, as design and README promise it.
const WORKER: &str = "edgeio.worker";
/// The label that names the instance.
const INSTANCE: &str = "edgeio.instance";

/// What must not change about a container that nobody touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// The instance, by its label.
    pub instance: String,
    /// When its run began.
    pub started_at: String,
    /// How often the engine itself started it again.
    pub restart_count: i64,
    /// Its main process, 0 when it does not run.
    pub pid: i64,
    /// Its state, such as running.
    pub status: String,
}

/// The Docker Engine, looked at from outside.
#[derive(Debug)]
pub struct Engine {
    /// For what a story needs beyond this.
    pub docker: Docker,
}

impl Engine {
    pub(super) fn connect() -> Result<Self> {
        let docker = Docker::connect_with_defaults().context("connect to Docker")?;
        Ok(Self { docker })
    }

    /// Every container of a worker, running or not, by instance.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn of_worker(&self, worker: &str) -> Result<BTreeMap<String, Container>> {
        let filters = HashMap::from([("label", vec![format!("{WORKER}={worker}")])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let listed = self.docker.list_containers(Some(options)).await;
        let mut found = BTreeMap::new();
        for container in listed.context("list containers")? {
            let id = container.id.context("a container has no id")?;
            let options = None::<InspectContainerOptions>;
            let seen = match self.docker.inspect_container(&id, options).await {
                Ok(seen) => seen,
                // Removed between the two calls.
                Err(bollard::errors::Error::DockerResponseServerError {
                    status_code: 404, ..
                }) => continue,
                Err(error) => return Err(error).context("inspect a container"),
            };
            let state = seen.state.unwrap_or_default();
            let labels = seen.config.and_then(|c| c.labels).unwrap_or_default();
            let instance = labels.get(INSTANCE).cloned().unwrap_or_default();
            let container = Container {
                id,
                instance: instance.clone(),
                started_at: state.started_at.unwrap_or_default(),
                restart_count: seen.restart_count.unwrap_or_default(),
                pid: state.pid.unwrap_or_default(),
                status: state.status.map(|s| s.to_string()).unwrap_or_default(),
            };
            if found.insert(instance.clone(), container).is_some() {
                bail!("instance {instance} has two containers");
            }
        }
        Ok(found)
    }

    /// What happened to a worker's containers from `since` until now: `action container`.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn events(&self, worker: &str, since: SystemTime) -> Result<Vec<String>> {
        let timed = self.timeline(worker, since).await?;
        Ok(timed.into_iter().map(|(_, event)| event).collect())
    }

    /// The same with the engine's time of each, in nanoseconds since 1970.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn timeline(&self, worker: &str, since: SystemTime) -> Result<Vec<(i64, String)>> {
        let filters = HashMap::from([("label", vec![format!("{WORKER}={worker}")])]);
        let (from, now) = (unix(since)?, unix(SystemTime::now())?);
        // The engine takes whole seconds, so that more comes than was asked for.
        let options = EventsOptionsBuilder::new()
            .since(&from.as_secs().to_string())
            .until(&now.as_secs().saturating_add(1).to_string())
            .filters(&filters)
            .build();
        let events: Vec<_> = self
            .docker
            .events(Some(options))
            .try_collect()
            .await
            .context("read events")?;
        let later = |nanos: Option<i64>| {
            nanos
                .and_then(|n| u64::try_from(n).ok())
                .is_none_or(|n| Duration::from_nanos(n) >= from)
        };
        let told = events.into_iter().filter(|event| later(event.time_nano));
        let told = told.map(|event| {
            let id = event.actor.and_then(|a| a.id).unwrap_or_default();
            let action = event.action.unwrap_or_default();
            (
                event.time_nano.unwrap_or_default(),
                format!("{action} {id}"),
            )
        });
        Ok(told.collect())
    }

    /// Makes an image that holds busybox, which needs no library, and a file.
    pub(super) async fn make_image(&self, name: &str, filler: &[u8], dir: &Path) -> Result<()> {
        let root = dir.join("image");
        std::fs::create_dir_all(root.join("bin")).context("make the image's folder")?;
        std::fs::copy(tool("busybox")?, root.join("bin/busybox")).context("copy busybox")?;
        std::fs::write(root.join("bin/filler"), filler).context("write the filler")?;
        for applet in ["sh", "sleep"] {
            let link = root.join("bin").join(applet);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink("busybox", link).context("link an applet")?;
        }
        let tar = Command::new("tar")
            .args(["--create", "--owner=0", "--group=0", "--numeric-owner"])
            .arg("--directory")
            .arg(&root)
            .arg("bin")
            .output()
            .context("run tar")?;
        if !tar.status.success() {
            bail!("tar: {}", String::from_utf8_lossy(&tar.stderr));
        }
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(name)
            .build();
        let made = self
            .docker
            .create_image(Some(options), Some(body_full(tar.stdout.into())), None)
            .try_collect::<Vec<_>>()
            .await;
        made.context("import an image")?;
        Ok(())
    }
}

fn unix(time: SystemTime) -> Result<Duration> {
    let since = time.duration_since(UNIX_EPOCH);
    since.context("the clock stands before 1970")
}

/// Removes what a worker has left with the engine, when a story has failed.
pub(super) fn sweep(worker: &str) {
    let filter = format!("label={WORKER}={worker}");
    let listed = Command::new("docker")
        .args(["ps", "--all", "--quiet", "--filter", &filter])
        .output();
    let listed = listed.map(|o| o.stdout).unwrap_or_default();
    let ids = String::from_utf8_lossy(&listed);
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if !ids.is_empty() {
        let _ = Command::new("docker")
            .args(["rm", "--force"])
            .args(ids)
            .output();
    }
}

/// Removes an image.
pub(super) fn remove_image(name: &str) {
    let _ = Command::new("docker")
        .args(["image", "rm", "--force", name])
        .output();
}
