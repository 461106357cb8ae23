//! What drivers are asked and what they answer.
//!
//! Plain data. Sizes are bytes, CPU is millicores (1000 is one core), instants are the node's wall clock.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SandboxSpec;

/// One incarnation of a slot: minted by the cluster, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a runtime, as specs write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuntimeKind(Cow<'static, str>);

impl RuntimeKind {
    /// Containers by the Docker engine.
    pub const DOCKER: Self = Self(Cow::Borrowed("docker"));
    /// Containers by containerd.
    pub const CONTAINERD: Self = Self(Cow::Borrowed("containerd"));
    /// Native processes under the shim.
    pub const PROCESS: Self = Self(Cow::Borrowed("process"));
    /// The scriptable runtime of tests and simulations.
    pub const FAKE: Self = Self(Cow::Borrowed("fake"));

    /// A runtime that is not built in.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who owns what a driver starts. Written once, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// The cluster that assigned it.
    pub cluster: Uuid,
    /// The worker that started it.
    pub worker: Uuid,
    /// The instance.
    pub instance: InstanceId,
    /// Lower-case hex of the hash over the spec's bytes.
    pub spec_hash: String,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every create.
    Always,
    /// When the engine does not have it.
    #[default]
    IfAbsent,
    /// Never: without the image the job is refused.
    Never,
}

/// A transport protocol of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The name engines use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the job that is reachable on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The port inside.
    pub container: u16,
    /// The port on the node; `None` lets the engine choose.
    pub host: Option<u16>,
    /// The protocol.
    pub protocol: Protocol,
}

/// A directory or file of the node that a job sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the node; it exists.
    pub source: PathBuf,
    /// In the job; made where it is missing.
    pub target: PathBuf,
    /// Whether nothing can be written there.
    pub read_only: bool,
}

/// What a job shall see at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provision {
    /// In the job.
    pub target: String,
    /// What.
    pub content: Content,
}

/// What is behind a path of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory that the worker keeps, by its path below that of all volumes.
    Volume {
        /// Plain parts only.
        path: PathBuf,
        /// Whether nothing can be written there.
        read_only: bool,
    },
    /// A path of the node's own, if its policy allows that.
    Host {
        /// As the spec has it.
        path: PathBuf,
        /// Whether nothing can be written there.
        read_only: bool,
    },
    /// A file with this in it.
    File {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Whether it can be run.
        executable: bool,
    },
}

/// All that a driver needs to start one instance. Built by the agent; a driver adds no defaults that change its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// `edgeio-<app>-<service>-<ordinal>-<id8>`: for people; the labels identify.
    pub name: String,
    /// Who owns it.
    pub labels: Labels,
    /// The image, for runtimes that have them.
    pub image: Option<String>,
    /// `sha256:<hex>`: pins the image whatever the tag says by now.
    pub image_digest: Option<String>,
    /// When to fetch the image.
    pub pull: PullPolicy,
    /// Replaces the image's entry point; for a native job the program and its first arguments. May be empty with an image.
    pub command: Vec<String>,
    /// Replaces the image's default arguments.
    pub args: Vec<String>,
    /// Environment. Nothing of the agent's own leaks into it.
    pub env: BTreeMap<String, String>,
    /// The most CPU it may use, in millicores.
    pub cpu_millis: Option<i64>,
    /// The most memory it may use, in bytes.
    pub memory_bytes: Option<i64>,
    /// Ports to publish. Native jobs bind their own.
    pub ports: Vec<Port>,
    /// Where it starts; `None` is the image's, or the instance's own directory.
    pub working_dir: Option<String>,
    /// `USER` or `USER:GROUP`, numbers or names; `None` is the image's, for a native job whom the driver is configured with.
    pub user: Option<String>,
    /// The signal that asks it to end, by number; `None` is the image's, else TERM.
    pub stop_signal: Option<u8>,
    /// What it sees of the node, those that are nearer to the root first.
    pub mounts: Vec<Mount>,
    /// What the agent makes mounts of before a driver is asked. Drivers do not look at it.
    pub provisions: Vec<Provision>,
    /// What it may do.
    pub sandbox: SandboxSpec,
    /// From the request to KILL when the engine itself must stop it.
    pub stop_grace: Duration,
    /// Until when an exclusive job may run unless its lease is renewed, by CLOCK_BOOTTIME: time since the boot. See
    /// [`super::Runtime::renew`]. `None` for a job that needs no lease.
    pub lease: Option<Duration>,
}

impl JobSpec {
    /// The instance this job is.
    pub fn instance(&self) -> InstanceId {
        self.labels.instance
    }
}

/// The engine's name of an instance: a container id, or `<pid>@<start ticks>` of a native job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub String);

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + signal where the engine knows only that.
    pub code: Option<i32>,
    /// The signal that ended it, where the engine tells.
    pub signal: Option<i32>,
    /// When; where nobody saw it, when it was noticed.
    pub finished_at: SystemTime,
    /// Whether the kernel killed it for memory.
    pub oom: bool,
    /// Why nobody saw the end (a reboot, a killed shim); code and signal are then unknown.
    pub lost: Option<String>,
}

impl Exit {
    /// Whether the job ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// The code a shell would show; `None` where the end was not seen.
    pub fn shell_code(&self) -> Option<i32> {
        self.code.or(self.signal.map(|s| 128 + s))
    }
}

/// Where an instance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Made and not started; or ended by its own keeper since its lease was over, which is no end of the job.
    Created,
    /// Runs.
    Running {
        /// When this run began.
        started_at: SystemTime,
        /// The main process, where the engine tells and it is in this node's namespace.
        pid: Option<u32>,
    },
    /// Frozen.
    Paused {
        /// When this run began.
        started_at: SystemTime,
        /// As in `Running`.
        pid: Option<u32>,
    },
    /// Ended; still held by the engine.
    Exited(Exit),
}

/// An instance as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Who owns it.
    pub labels: Labels,
    /// The engine's name of it.
    pub handle: Handle,
    /// Where it stands.
    pub state: State,
    /// `sha256:<hex>` in the registry the image came from; `None` for native jobs, local images, and in lists.
    pub image_digest: Option<String>,
}

impl Observed {
    /// The instance.
    pub fn instance(&self) -> InstanceId {
        self.labels.instance
    }
}

/// What a runtime may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Runs images.
    Images,
    /// Enforces CPU and memory limits.
    Limits,
    /// Shows directories and files of the node at any path of the job, and hides what [`SandboxSpec`] hides.
    Mounts,
    /// Freezes and thaws.
    Pause,
    /// Publishes ports on the node.
    Ports,
    /// Measures what an instance uses.
    Stats,
    /// Runs a job as any user.
    Users,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Images,
        Self::Limits,
        Self::Mounts,
        Self::Pause,
        Self::Ports,
        Self::Stats,
        Self::Users,
    ];

    /// The name in inventories and reasons.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Limits => "limits",
            Self::Mounts => "mounts",
            Self::Pause => "pause",
            Self::Ports => "ports",
            Self::Stats => "stats",
            Self::Users => "users",
        }
    }
}

/// Something a runtime cannot do on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What.
    pub feature: Feature,
    /// A sentence for the user who wonders why.
    pub why: String,
}

/// What a runtime can do on this node. Every [`Feature`] is in one of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The engine's version.
    pub version: String,
    /// What it can do.
    pub features: BTreeSet<Feature>,
    /// What it cannot do, with the reason.
    pub missing: Vec<Missing>,
}

/// How far [`super::Runtime::ensure`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fetching the image: bytes so far and in all, both summed over the layers known by now.
    Pulling {
        /// Bytes fetched.
        current: u64,
        /// Bytes in all; grows while layers become known.
        total: u64,
    },
    /// The engine makes the instance.
    Creating,
    /// The engine starts it.
    Starting,
}

/// Takes steps of [`super::Runtime::ensure`]. Must return at once.
pub trait Progress: Send + Sync {
    /// Takes one step; later steps replace earlier ones.
    fn step(&self, step: Step);
}

/// Ignores progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn step(&self, _: Step) {}
}

/// What an instance uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time of this run in nanoseconds, over all cores.
    pub cpu_ns_total: u64,
    /// Memory without the page cache that can be dropped, in bytes.
    pub memory_bytes: u64,
}

/// What happened to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It runs.
    Started,
    /// It ended.
    Exited,
    /// The kernel killed something in it for memory.
    Oom,
    /// It was frozen.
    Paused,
    /// It was thawed.
    Resumed,
    /// The engine holds it no more.
    Removed,
}

/// A hint to look at the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// One instance changed.
    Changed {
        /// Which.
        instance: InstanceId,
        /// How.
        kind: EventKind,
    },
    /// Events may have been lost: list all.
    Gap,
}
