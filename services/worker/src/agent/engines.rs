//! The runtimes of this machine: made from the configuration, surveyed for what they can do.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use edgeio_domain::resources::Resources;
use tokio::time::timeout;
use tracing::info;

use crate::{
    Config,
    config::EngineChoice,
    inventory::{Inventory, RuntimeReport, survey},
    node::{Offer, capacity},
    runtime::{
        Runtime, RuntimeError, RuntimeKind,
        docker::{DockerConfig, DockerRuntime},
        external::ExternalRuntime,
        process::{ProcessConfig, ProcessRuntime},
        registries::Registries,
    },
};

/// How long a runtime may take to say what it can do. An engine that is starting takes seconds; one that hangs must not keep
/// the others' jobs waiting.
const SURVEY_WITHIN: Duration = Duration::from_secs(5);

/// The runtimes of a worker.
#[derive(Clone)]
pub(super) struct Engines(pub(super) Vec<Arc<dyn Runtime>>);

impl Engines {
    /// Makes the runtimes that the configuration asks for, and takes the given ones.
    pub(super) fn open(
        config: &Config,
        shim: Option<&Path>,
        given: Vec<Arc<dyn Runtime>>,
    ) -> Result<Self, RuntimeError> {
        let mut all = given;
        let registries = Registries::new(config.registries.clone());
        match docker(config) {
            Some(docker) => {
                let docker = DockerRuntime::new(&docker).with_registries(registries.clone());
                all.push(Arc::new(docker));
            }
            None => info!("docker is not used: there is no engine, or it is off"),
        }
        containerd(config, registries, &mut all);
        if config.native {
            let mut process = ProcessConfig::new(config.data_dir.join("process"));
            process.shim = shim.map(Path::to_owned);
            process.without_limits = config.native_without_limits.into();
            process.user.clone_from(&config.native_user);
            all.push(Arc::new(ProcessRuntime::open(process)?));
        }
        for driver in config.drivers() {
            all.push(Arc::new(ExternalRuntime::new(driver)));
        }
        Ok(Self(all))
    }

    pub(super) fn get(&self, kind: &RuntimeKind) -> Option<&Arc<dyn Runtime>> {
        self.0.iter().find(|runtime| runtime.kind() == *kind)
    }

    /// Asks each what it can do.
    pub(super) async fn survey(&self) -> Vec<RuntimeReport> {
        let each = self.0.iter().map(|runtime| async move {
            let one = std::slice::from_ref(runtime);
            match timeout(SURVEY_WITHIN, survey(one)).await {
                Ok(mut reports) => reports.pop(),
                Err(_elapsed) => None,
            }
            .unwrap_or_else(|| RuntimeReport {
                kind: runtime.kind(),
                found: Err(format!("it did not answer within {SURVEY_WITHIN:?}")),
            })
        });
        futures::future::join_all(each).await
    }
}

fn docker(config: &Config) -> Option<DockerConfig> {
    match &config.docker {
        EngineChoice::Off => None,
        EngineChoice::Socket(socket) => Some(DockerConfig {
            socket: socket.clone(),
        }),
        EngineChoice::Auto => {
            let found = DockerConfig::from_host(std::env::var("DOCKER_HOST").ok().as_deref());
            found.socket.exists().then_some(found)
        }
    }
}

/// The sockets of this machine's engines, used or not: who speaks to one is root.
pub(super) fn sockets(config: &Config) -> Vec<PathBuf> {
    let mut sockets: Vec<PathBuf> = ["/var/run/docker.sock", "/run/containerd"]
        .map(PathBuf::from)
        .into();
    for choice in [&config.docker, &config.containerd] {
        if let EngineChoice::Socket(socket) = choice {
            sockets.push(socket.clone());
        }
    }
    sockets.extend(docker(config).map(|docker| docker.socket));
    sockets
}

/// Adds containerd, if it is asked for or found.
#[cfg(feature = "containerd")]
fn containerd(config: &Config, registries: Registries, all: &mut Vec<Arc<dyn Runtime>>) {
    use crate::runtime::containerd::{ContainerdConfig, ContainerdRuntime, DEFAULT_SOCKET};
    let socket = match &config.containerd {
        EngineChoice::Off => None,
        EngineChoice::Socket(socket) => Some(socket.clone()),
        EngineChoice::Auto => {
            // A Docker Engine brings one along that only root may speak to: not ours, then.
            let found = Path::new(DEFAULT_SOCKET);
            let ours = std::os::unix::net::UnixStream::connect(found).is_ok();
            ours.then(|| found.to_owned())
        }
    };
    let Some(socket) = socket else {
        info!("containerd is not used: there is no engine, or it is off");
        return;
    };
    let containerd = ContainerdRuntime::new(ContainerdConfig {
        socket,
        state: config.data_dir.join("containerd"),
        shared_shim: config.containerd_shared_shim,
    });
    all.push(Arc::new(containerd.with_registries(registries)));
}

/// This build has no containerd.
#[cfg(not(feature = "containerd"))]
fn containerd(_: &Config, _: Registries, _: &mut Vec<Arc<dyn Runtime>>) {}

/// What the node may offer of them.
pub(super) fn offers(reports: &[RuntimeReport]) -> Vec<Offer> {
    let offer = |report: &RuntimeReport| Offer {
        kind: report.kind.clone(),
        features: report
            .found
            .as_ref()
            .map(|found| found.features.clone())
            .unwrap_or_default(),
        available: report.found.is_ok(),
    };
    reports.iter().map(offer).collect()
}

/// What can be placed: the machine, or what the configuration says instead.
pub(super) fn allocatable(config: &Config, inventory: &Inventory) -> Resources {
    let given = config.given();
    let memory = i64::try_from(inventory.memory_bytes).unwrap_or(i64::MAX);
    Resources {
        cpu_millis: given
            .cpu_millis
            .unwrap_or(i64::from(inventory.cores) * 1000),
        memory_bytes: given.memory_bytes.unwrap_or(memory),
    }
}

/// The capacity with these runtimes.
pub(super) fn capacity_of(
    config: &Config,
    inventory: &Inventory,
    offers: &[Offer],
) -> edgeio_domain::child::Capacity {
    capacity(
        &inventory.architecture,
        offers,
        allocatable(config, inventory),
    )
}
