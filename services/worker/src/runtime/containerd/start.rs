//! From a job to a container, and from a container to a running task.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
    time::SystemTime,
};

use containerd_client::{
    services::v1::{
        Container, CreateContainerRequest, CreateNamespaceRequest, CreateTaskRequest, Namespace,
        StartRequest, container,
        snapshots::{MountsRequest, PrepareSnapshotRequest},
    },
    tonic::{Code, Status},
    types::Mount,
};
use edgeio_domain::spec::Signal;
use oci_client::Reference;
use prost_types::Any;

use super::{
    ContainerdRuntime, TERM,
    engine::{NAMESPACE, SNAPSHOTTER, call},
    home::{Home, Run},
    image::{self, Ready},
    network::Network,
    observe, pull,
    spec::{self, Device},
    user,
};
use crate::runtime::{
    ErrorClass, InstanceId, JobSpec, Progress, PullPolicy, RuntimeError, RuntimeKind, Step, label,
};

/// The shim for every container: the engine's default on Linux.
const RUNC: &str = "io.containerd.runc.v2";
/// How the engine calls an OCI specification in JSON.
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// What the image says the job wants to be asked with, on the container: labels hold who owns it and no more.
const STOP_SIGNAL: &str = "edgeio.stop-signal";

impl ContainerdRuntime {
    /// Makes the container, with its image. The image's digest in its registry, where it came from one.
    pub(super) async fn create(
        &self,
        job: &JobSpec,
        wanted: &Reference,
        progress: &dyn Progress,
    ) -> Result<Option<String>, RuntimeError> {
        let instance = job.instance();
        let failed = |status| self.failed("create", instance).because(status);
        self.namespace().await.map_err(failed)?;
        let ready = self.image(job, wanted, progress).await?;
        progress.step(Step::Creating);
        if spec::argv(job, &ready.config).is_empty() {
            return Err(RuntimeError::Invalid {
                runtime: RuntimeKind::CONTAINERD,
                field: "command",
                why: "neither the job nor its image says what to run".to_owned(),
            });
        }
        let home = self.home(instance);
        prepare_files(&home, &job.name).map_err(|e| self.failed("create", instance).file(e))?;
        // The container first: the collector spares a snapshot that one refers to.
        let mounts = self.snapshot(instance, &ready.chain).await;
        let mounts = mounts.map_err(failed)?;
        let (named, field) = match &job.user {
            Some(user) => (user, "user"),
            None => (&ready.config.user, "image"),
        };
        let who = user::find(named, &mounts).map_err(|name| RuntimeError::Invalid {
            runtime: RuntimeKind::CONTAINERD,
            field,
            why: format!("the user `{name}` is not in the image's passwd or group file"),
        })?;
        let devices = devices(&job.sandbox.devices)?;
        let group = format!("edgeio-{}", job.labels.worker);
        let node = spec::Node {
            home: &home.0,
            swap: self
                .hierarchies()
                .is_some_and(|groups| groups.accounts_swap()),
            devices: &devices,
            shim_group: self.shared_shim.then_some(group.as_str()),
        };
        let spec = spec::build(job, &ready.config, who, node);
        self.container(job, &ready, spec.to_string())
            .await
            .map_err(failed)?;
        Ok(job.image_digest.clone().or(ready.digest))
    }

    /// Makes our namespace; one that is there is fine.
    async fn namespace(&self) -> Result<(), Status> {
        let namespace = Namespace {
            name: NAMESPACE.to_owned(),
            labels: HashMap::new(),
        };
        let request = CreateNamespaceRequest {
            namespace: Some(namespace),
        };
        match self.engine.namespaces().create(call(request)).await {
            Err(status) if status.code() != Code::AlreadyExists => Err(status),
            _ => Ok(()),
        }
    }

    /// The image, here and unpacked.
    async fn image(
        &self,
        job: &JobSpec,
        wanted: &Reference,
        progress: &dyn Progress,
    ) -> Result<Ready, RuntimeError> {
        let instance = job.instance();
        if job.pull != PullPolicy::Always
            && let Some(ready) = self.unpacked(instance, wanted).await?
        {
            return Ok(ready);
        }
        if job.pull == PullPolicy::Never {
            let image = wanted.whole();
            return Err(RuntimeError::ImageAbsent { image });
        }
        progress.step(Step::Pulling {
            current: 0,
            total: 0,
        });
        let turn = self.registries.turn().await;
        let registry = wanted.resolve_registry();
        let who = self.registries.credential(registry, &wanted.whole())?;
        pull::pull(&self.engine, wanted, who, progress).await?;
        drop(turn);
        self.unpacked(instance, wanted).await?.ok_or_else(|| {
            let why = "its image is gone again before it was used";
            self.failed("create", instance).told(ErrorClass::Retry, why)
        })
    }

    async fn unpacked(
        &self,
        instance: InstanceId,
        wanted: &Reference,
    ) -> Result<Option<Ready>, RuntimeError> {
        let found = image::find(&self.engine, wanted).await;
        found.map_err(|status| self.failed("create", instance).because(status))
    }

    /// The instance's own layer on the image.
    async fn snapshot(&self, instance: InstanceId, chain: &str) -> Result<Vec<Mount>, Status> {
        let request = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: instance.to_string(),
            parent: chain.to_owned(),
            // Ours until it is removed: between here and the container nothing else refers to it.
            labels: HashMap::from([("containerd.io/gc.root".to_owned(), "edgeio".to_owned())]),
        };
        match self.engine.snapshots().prepare(call(request)).await {
            Ok(answer) => Ok(answer.into_inner().mounts),
            Err(status) if status.code() == Code::AlreadyExists => self.mounts(instance).await,
            Err(status) => Err(status),
        }
    }

    async fn mounts(&self, instance: InstanceId) -> Result<Vec<Mount>, Status> {
        let request = MountsRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: instance.to_string(),
        };
        let answer = self.engine.snapshots().mounts(call(request)).await?;
        Ok(answer.into_inner().mounts)
    }

    async fn container(&self, job: &JobSpec, ready: &Ready, spec: String) -> Result<(), Status> {
        let signal = Any {
            type_url: STOP_SIGNAL.to_owned(),
            value: match job.stop_signal {
                Some(number) => number.to_string().into_bytes(),
                None => ready.config.stop_signal.clone().into_bytes(),
            },
        };
        let container = Container {
            id: job.instance().to_string(),
            labels: label::write(&job.labels),
            image: ready.name.clone(),
            runtime: Some(container::Runtime {
                name: RUNC.to_owned(),
                options: None,
            }),
            spec: Some(Any {
                type_url: SPEC_TYPE.to_owned(),
                value: spec.into_bytes(),
            }),
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: job.instance().to_string(),
            extensions: HashMap::from([(STOP_SIGNAL.to_owned(), signal)]),
            ..Container::default()
        };
        let request = CreateContainerRequest {
            container: Some(container),
        };
        self.engine
            .containers()
            .create(call(request))
            .await
            .map(|_| ())
    }

    /// Starts the container of a job; an earlier task of it, which has ended, makes room.
    pub(super) async fn start(&self, job: &JobSpec) -> Result<(), RuntimeError> {
        let instance = job.instance();
        let failed = |status| self.failed("start", instance).because(status);
        let file = |error| self.failed("start", instance).file(error);
        self.clear_task("start", instance).await?;
        let container = observe::container(&self.engine, instance)
            .await
            .map_err(failed)?;
        let container = container.ok_or(RuntimeError::Gone {
            instance,
            verb: "start",
        })?;
        let home = self.home(instance);
        let output = format!("file://{}", home.output().display());
        let request = CreateTaskRequest {
            container_id: instance.to_string(),
            rootfs: self.mounts(instance).await.map_err(failed)?,
            stdout: output.clone(),
            stderr: output,
            ..CreateTaskRequest::default()
        };
        let made = self
            .engine
            .tasks()
            .create(call(request))
            .await
            .map_err(failed)?;
        let run = Run::begins(SystemTime::now(), stop_signal(&container));
        home.begin(&run).map_err(file)?;
        let begun = async {
            self.connect(job, &home, made.into_inner().pid).await?;
            let request = StartRequest {
                container_id: instance.to_string(),
                exec_id: String::new(),
            };
            self.engine
                .tasks()
                .start(call(request))
                .await
                .map_err(failed)
        };
        if let Err(error) = begun.await {
            // It never ran: nothing must say that it did.
            home.unbegin().map_err(file)?;
            self.clear_task("start", instance).await?;
            return Err(error);
        }
        Ok(())
    }

    /// The network of a task that is made and not started.
    async fn connect(&self, job: &JobSpec, home: &Home, pid: u32) -> Result<(), RuntimeError> {
        let instance = job.instance();
        if job.sandbox.host_network {
            return Ok(());
        }
        let network = match Network::find() {
            Ok(network) => network,
            // A job that publishes nothing runs without one.
            Err(_) if job.ports.is_empty() => return Ok(()),
            Err(why) => {
                return Err(RuntimeError::Unsupported {
                    runtime: RuntimeKind::CONTAINERD,
                    feature: crate::runtime::Feature::Ports,
                    why,
                });
            }
        };
        let added = network
            .add(&self.engine, home, instance, pid, &job.ports)
            .await;
        added.map_err(|e| self.failed("start", instance).told(ErrorClass::Retry, e))
    }
}

/// The signal that the image asks for.
fn stop_signal(container: &Container) -> u32 {
    let said = container
        .extensions
        .get(STOP_SIGNAL)
        .map(|s| s.value.as_slice());
    let said = said
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .unwrap_or("");
    said.parse::<Signal>()
        .map_or(TERM, |signal| u32::from(signal.number()))
}

/// What the kernel calls the devices at these paths.
fn devices(paths: &[String]) -> Result<Vec<Device>, RuntimeError> {
    let found = |path: &String| {
        let invalid = |why: String| RuntimeError::Invalid {
            runtime: RuntimeKind::CONTAINERD,
            field: "sandbox.devices",
            why,
        };
        let meta = fs::metadata(path).map_err(|e| invalid(format!("{path}: {e}")))?;
        let kind = meta.file_type();
        if !kind.is_block_device() && !kind.is_char_device() {
            return Err(invalid(format!("{path} is no device")));
        }
        Ok(Device {
            path: path.clone(),
            block: kind.is_block_device(),
            major: rustix::fs::major(meta.rdev()),
            minor: rustix::fs::minor(meta.rdev()),
        })
    };
    paths.iter().map(found).collect()
}

/// The files that are mounted into the container, and the empty output.
fn prepare_files(home: &Home, name: &str) -> io::Result<()> {
    home.create()?;
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.output())?;
    let hosts = format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    fs::write(home.0.join("hosts"), hosts)?;
    // The stub of a local resolver is not reachable from another network; the servers behind it are.
    let behind = Path::new("/run/systemd/resolve/resolv.conf");
    let from = if behind.exists() {
        behind
    } else {
        Path::new("/etc/resolv.conf")
    };
    fs::write(
        home.0.join("resolv.conf"),
        fs::read(from).unwrap_or_default(),
    )
}
