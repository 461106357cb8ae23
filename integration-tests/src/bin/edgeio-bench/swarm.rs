//! Docker Swarm beside us, on a dockerd of its own: own socket, own data, and a network namespace of its own. A second
//! dockerd beside the machine's removes or changes its bridge and firewall rules; there it can not. Its one node is manager and
//! worker, as ours is one machine. Needs root.
//!
//! Swarm's containers use the host's network (that namespace), the fastest it has. A service's image is named by its
//! id: otherwise Swarm asks a registry first.

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::{
        NetworkAttachmentConfig, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated,
        SwarmInitRequest, TaskSpec, TaskSpecContainerSpec, TaskState,
    },
    query_parameters::{
        LeaveSwarmOptionsBuilder, ListContainersOptionsBuilder, ListTasksOptionsBuilder,
    },
};

use crate::{
    child::Child,
    engine::{COMMAND, Engine},
};

/// Between two looks at a task: its error stays under a hundredth of what is measured.
const LOOK: Duration = Duration::from_millis(2);
/// A start that takes longer has failed.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Where its manager listens; nobody else is in its network namespace.
const MANAGER: &str = "127.0.0.1:2377";
/// Runs a program in a new network namespace that has a loopback, and with mounts that vanish with it.
const ALONE: [&str; 6] = [
    "--mount",
    "--net",
    "sh",
    "-c",
    "ip link set lo up && exec \"$@\"",
    "alone",
];

pub(crate) struct Swarm {
    daemon: Child,
    engine: Engine,
    /// Where its socket and state are: a short path, since a socket's may have 107 bytes.
    run: PathBuf,
}

impl Swarm {
    /// Starts the daemon and makes it a swarm of one.
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        let run = std::env::temp_dir().join(format!("edgeio-bench.{}", std::process::id()));
        std::fs::create_dir_all(&run).with_context(|| format!("make {}", run.display()))?;
        let socket = run.join("docker.sock");
        let path = |path: &Path| path.display().to_string();
        let args = [
            "dockerd".to_owned(),
            format!("--host=unix://{}", path(&socket)),
            format!("--data-root={}", path(&dir.join("swarm"))),
            format!("--exec-root={}", path(&run.join("exec"))),
            format!("--pidfile={}", path(&run.join("pid"))),
            "--iptables=false".to_owned(),
            // There may be no systemd to ask.
            "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
            // Should it meet the machine's containerd, it keeps to names of its own there.
            "--containerd-namespace=edgeio-bench".to_owned(),
            "--containerd-plugins-namespace=edgeio-bench-plugins".to_owned(),
        ];
        let mut daemon = Child::start(
            "dockerd",
            Path::new("unshare"),
            ALONE.into_iter().chain(args.iter().map(String::as_str)),
            &[],
            dir,
        )?;
        daemon.wait_until(
            "serving (a peer needs root; --peer none goes without)",
            || UnixStream::connect(&socket).is_ok(),
        )?;
        let docker = Docker::connect_with_unix(&path(&socket), 120, API_DEFAULT_VERSION)
            .context("connect to Swarm's dockerd")?;
        // The socket is there before the engine answers; the first call waits for it.
        docker
            .init_swarm(SwarmInitRequest {
                listen_addr: Some(MANAGER.to_owned()),
                advertise_addr: Some("127.0.0.1".to_owned()),
                ..SwarmInitRequest::default()
            })
            .await
            .context("make a swarm")?;
        let engine = Engine::with_image(docker, dir).await?;
        Ok(Self {
            daemon,
            engine,
            run,
        })
    }

    /// Create and start on the same daemon without Swarm, in milliseconds.
    pub(crate) async fn raw(&self) -> Result<f64> {
        let body = self.engine.body("host");
        Ok(self.engine.create_start_remove(&body).await?.0)
    }

    /// Creates a service of one replica, waits until it is reported as running, and removes it: milliseconds until then.
    pub(crate) async fn service(&self, name: &str) -> Result<f64> {
        let start = Instant::now();
        let created = self
            .engine
            .docker
            .create_service(self.spec(name), None)
            .await
            .context("create a service")?;
        let id = created.id.context("the service has no id")?;
        self.running(&id).await?;
        let ran = start.elapsed().as_secs_f64() * 1e3;
        self.engine
            .docker
            .delete_service(&id)
            .await
            .context("delete a service")?;
        self.gone(name).await?;
        Ok(ran)
    }

    fn spec(&self, name: &str) -> ServiceSpec {
        ServiceSpec {
            name: Some(name.to_owned()),
            mode: Some(ServiceSpecMode {
                replicated: Some(ServiceSpecModeReplicated { replicas: Some(1) }),
                ..ServiceSpecMode::default()
            }),
            task_template: Some(TaskSpec {
                container_spec: Some(TaskSpecContainerSpec {
                    image: Some(self.engine.image.clone()),
                    command: Some(COMMAND.map(str::to_owned).to_vec()),
                    ..TaskSpecContainerSpec::default()
                }),
                networks: Some(vec![NetworkAttachmentConfig {
                    target: Some("host".to_owned()),
                    ..NetworkAttachmentConfig::default()
                }]),
                ..TaskSpec::default()
            }),
            ..ServiceSpec::default()
        }
    }

    async fn running(&self, service: &str) -> Result<()> {
        let filters = HashMap::from([("service", vec![service])]);
        let options = ListTasksOptionsBuilder::new().filters(&filters).build();
        let until = Instant::now() + GIVE_UP;
        let mut last = Vec::new();
        while Instant::now() < until {
            let tasks = self.engine.docker.list_tasks(Some(options.clone())).await;
            last = tasks.context("list tasks")?;
            let runs = |state: &TaskState| *state == TaskState::RUNNING;
            if last
                .iter()
                .filter_map(|task| task.status.as_ref()?.state.as_ref())
                .any(runs)
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("Swarm did not run its service within {GIVE_UP:?}: {last:?}")
    }

    async fn gone(&self, service: &str) -> Result<()> {
        let label = format!("com.docker.swarm.service.name={service}");
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let until = Instant::now() + GIVE_UP;
        while Instant::now() < until {
            let left = self
                .engine
                .docker
                .list_containers(Some(options.clone()))
                .await;
            if left.context("list containers")?.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK * 10).await;
        }
        bail!("Swarm did not remove {service} within {GIVE_UP:?}")
    }

    /// Leaves nothing behind.
    pub(crate) async fn stop(self) -> Result<()> {
        let options = LeaveSwarmOptionsBuilder::new().force(true).build();
        let left = self.engine.docker.leave_swarm(Some(options)).await;
        left.context("leave the swarm")?;
        drop(self.daemon);
        std::fs::remove_dir_all(&self.run).with_context(|| format!("remove {}", self.run.display()))
    }
}
