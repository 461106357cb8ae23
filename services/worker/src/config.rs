//! What a worker is configured with.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use edgeio_client::{Dialer, Proxy, Target, Trust};
use edgeio_domain::quantity;
use edgeio_server::{
    config::{Check, DialConfig, Flat, JoinConfig, TomlValue, Validate, Value},
    telemetry::TelemetryConfig,
};

use crate::{
    node::Willing,
    runtime::{RuntimeKind, external::ExternalConfig, process::WithoutLimits},
};

/// Names that no driver can have.
const BUILT_IN: [RuntimeKind; 4] = [
    RuntimeKind::DOCKER,
    RuntimeKind::CONTAINERD,
    RuntimeKind::PROCESS,
    RuntimeKind::FAKE,
];

edgeio_server::config! {
    /// Configuration of a worker.
    pub struct Config {
        /// The cluster's gRPC API, where the worker registers: `HOST:PORT`, or `https://HOST:PORT` with TLS.
        pub cluster: String = "127.0.0.1:10100".to_owned(),
        /// How the cluster is called.
        pub dial: Flat<DialConfig>,
        /// Joining the cluster.
        pub joining: Flat<JoinConfig>,
        /// Display name; the host name when empty. The cluster makes it unique.
        pub name: String,
        /// Where the worker keeps its key, its ledger and the files of native jobs. One directory is one worker.
        pub data_dir: PathBuf = default_data_dir(),
        /// Allow native jobs: whoever may deploy may then run any program of this machine as this user.
        pub native: bool = false,
        /// What to do with a native job that asks for limits where the kernel gives this user no control groups: `refuse` or `run` it unlimited.
        pub native_without_limits: LimitsPolicy = LimitsPolicy::Refuse,
        /// Who native jobs run as that name nobody: `USER` or `USER:GROUP` of this machine. Unset: this process's own user.
        pub native_user: Option<String>,
        /// A TOML file that says what jobs may do beyond the usual: see [`crate::policy::Policy`] for its keys. Unset: nothing.
        pub policy: Option<PathBuf>,
        /// A file with credentials of private registries in the form of Docker's `config.json`, read before each pull. Helper programs are not asked.
        pub registries: Option<PathBuf>,
        /// Docker: `auto` uses the engine at `DOCKER_HOST` or the usual socket if there is one, `off` none, and a path the engine at that socket.
        pub docker: EngineChoice = EngineChoice::Auto,
        /// containerd: `auto` uses the engine at `/run/containerd/containerd.sock` if this user may speak to it, `off` none, and a path the engine at that socket.
        pub containerd: EngineChoice = EngineChoice::Auto,
        /// Let all containers of this worker in containerd share one shim process: a tenth of the memory, but whoever kills it kills them all.
        pub containerd_shared_shim: bool = false,
        /// Runtimes that are not built in: the names by which services choose them, each with the socket of its driver, such as `wasm=/run/wasm.sock`. A driver must run as root or as this user, behind a socket that others may not write to.
        pub drivers: BTreeMap<String, String>,
        /// What may be placed on this machine, where that is not all of it: such as `cpu=2,memory=2Gi`.
        pub capacity: BTreeMap<String, String>,
        /// Take new instances. Off: what runs here goes on, and what the cluster sends is refused and placed elsewhere.
        pub accept_new: bool = true,
        /// How many instances this worker takes at most; 0 for as many as there is room for.
        pub max_instances: u32 = 0,
        /// Logging.
        pub telemetry: Flat<TelemetryConfig>,
    }
}

edgeio_server::config! {
    /// What `edgeio-worker leave` reads.
    pub struct LeaveConfig {
        /// The cluster's gRPC API: `HOST:PORT`, or `https://HOST:PORT` with TLS.
        pub cluster: String = "127.0.0.1:10100".to_owned(),
        /// How the cluster is called.
        pub dial: Flat<DialConfig>,
        /// The data directory of the worker that leaves.
        pub data_dir: PathBuf = default_data_dir(),
        /// Leave the jobs running, unmanaged. Otherwise they are stopped and placed elsewhere first.
        pub keep: bool = false,
        /// How long to wait for the jobs to be stopped.
        // As long as the longest grace that is usual, with room for a slow engine.
        pub wait: std::time::Duration = std::time::Duration::from_secs(120),
        /// Logging.
        pub telemetry: Flat<TelemetryConfig>,
    }
}

edgeio_server::choice! {
    /// What to do with limits that cannot be enforced.
    pub enum LimitsPolicy {
        /// Refuse the job.
        Refuse = "refuse",
        /// Run it without.
        Run = "run",
    }
}

impl From<LimitsPolicy> for WithoutLimits {
    fn from(policy: LimitsPolicy) -> Self {
        match policy {
            LimitsPolicy::Refuse => WithoutLimits::Refuse,
            LimitsPolicy::Run => WithoutLimits::Run,
        }
    }
}

/// Which container engine of a kind is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The usual one, if its socket is there.
    Auto,
    /// None.
    Off,
    /// The one at this socket.
    Socket(PathBuf),
}

impl Value for EngineChoice {
    fn expected() -> String {
        "`auto`, `off` or the absolute path of a socket".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::Socket(path.into())),
            other => Err(format!("`{other}` is none of these")),
        }
    }

    fn to_toml(&self) -> Option<TomlValue> {
        let text = match self {
            Self::Auto => "auto".to_owned(),
            Self::Off => "off".to_owned(),
            Self::Socket(path) => path.display().to_string(),
        };
        Some(TomlValue::String(text))
    }
}

/// The system's place for root, the user's own for anybody else.
fn default_data_dir() -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match home {
        Some(home) if !rustix::process::geteuid().is_root() => {
            PathBuf::from(home).join(".edgeio/worker")
        }
        Some(_) | None => PathBuf::from("/var/lib/edgeio-worker"),
    }
}

/// Amounts that stand in for the machine's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) cpu_millis: Option<i64>,
    pub(crate) memory_bytes: Option<i64>,
}

/// How the cluster is reached; what is learned of it is kept in the data directory.
fn dialer(dial: &DialConfig, joining: &JoinConfig, data_dir: &Path) -> Dialer {
    let hash = dial.ca_hash.clone().or_else(|| joining.ca_hash());
    let trust = Trust::default()
        .file(dial.ca.clone())
        .hash(hash.and_then(|hash| hash.parse().ok()))
        .kept_in(data_dir.join("cluster-ca.pem"));
    Dialer::new(trust, dial.proxy().parse().unwrap_or_default())
}

impl LeaveConfig {
    /// How the cluster is reached.
    pub(crate) fn dialer(&self) -> Dialer {
        dialer(&self.dial, &JoinConfig::default(), &self.data_dir)
    }

    /// What is logged.
    #[must_use]
    pub fn logging(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}

impl Config {
    /// How the cluster is reached.
    pub(crate) fn dialer(&self) -> Dialer {
        dialer(&self.dial, &self.joining, &self.data_dir)
    }

    /// What is logged.
    #[must_use]
    pub fn logging(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    /// The drivers; what was refused by [`Validate`] is not there.
    pub(crate) fn drivers(&self) -> impl Iterator<Item = ExternalConfig> {
        let read = |(name, socket): (&String, &String)| driver(name, socket).ok();
        self.drivers.iter().filter_map(read)
    }

    /// What it takes of its own will.
    pub(crate) fn willing(&self) -> Willing {
        Willing {
            accept_new: self.accept_new,
            max_instances: self.max_instances,
        }
    }

    /// The amounts of `capacity`; what was refused by [`Validate`] is not there.
    pub(crate) fn given(&self) -> Given {
        let read = |key: &str, parse: fn(&str) -> Result<i64, quantity::QuantityError>| {
            self.capacity.get(key).and_then(|text| parse(text).ok())
        };
        Given {
            cpu_millis: read("cpu", quantity::cpu_millis),
            memory_bytes: read("memory", quantity::bytes),
        }
    }
}

/// A driver by what the configuration says of it. Names are as services write them.
fn driver(name: &str, socket: &str) -> Result<ExternalConfig, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(fits) {
        return Err(format!(
            "`{name}` is no name of a runtime: lower-case letters, digits and dashes, 40 at most"
        ));
    }
    if BUILT_IN.iter().any(|kind| kind.as_str() == name) {
        return Err(format!("the runtime {name} is built in"));
    }
    if !socket.starts_with('/') {
        return Err(format!("`{socket}` is no absolute path of a socket"));
    }
    Ok(ExternalConfig {
        name: RuntimeKind::new(name.to_owned()),
        socket: socket.into(),
    })
}

fn check_cluster(cluster: &str, dial: &DialConfig, check: &mut Check<'_>) {
    if let Err(error) = dial.proxy().parse::<Proxy>() {
        check.fail("proxy", error.to_string(), "write `http://HOST:PORT`");
    }
    if let Err(error) = cluster.parse::<Target>() {
        check.fail(
            "cluster",
            error.to_string(),
            "write the address of a cluster such as `10.0.0.5:10100`",
        );
    }
}

impl Validate for Config {
    fn validate(&self, check: &mut Check<'_>) {
        check_cluster(&self.cluster, &self.dial, check);
        for (name, socket) in &self.drivers {
            if let Err(fault) = driver(name, socket) {
                check.fail(
                    "drivers",
                    fault,
                    "write names and sockets such as `wasm=/run/wasm.sock`",
                );
            }
        }
        for (key, text) in &self.capacity {
            let fault = match key.as_str() {
                "cpu" => quantity::cpu_millis(text).err().map(|e| e.to_string()),
                "memory" => quantity::bytes(text).err().map(|e| e.to_string()),
                _ => Some(format!("`{key}` is neither cpu nor memory")),
            };
            if let Some(fault) = fault {
                check.fail(
                    "capacity",
                    fault,
                    "write amounts such as `cpu=2,memory=2Gi`",
                );
            }
        }
    }
}

impl Validate for LeaveConfig {
    fn validate(&self, check: &mut Check<'_>) {
        check_cluster(&self.cluster, &self.dial, check);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use edgeio_server::config::{Loaded, Program, load};

    use super::*;

    const PROGRAM: Program = Program {
        name: "edgeio-worker",
        version: "0",
        about: "A worker.",
    };

    fn read(args: &[&str]) -> Result<Config, String> {
        let argv = std::iter::once("edgeio-worker")
            .chain(args.iter().copied())
            .map(OsString::from);
        match load(&PROGRAM, argv, Vec::new()) {
            Ok(Loaded::Run(effective)) => Ok(effective.config),
            Ok(Loaded::Print(text)) => Err(text),
            Err(errors) => Err(errors.to_string()),
        }
    }

    #[test]
    fn native_jobs_are_off_unless_they_are_allowed() {
        let config = read(&[]).unwrap();
        assert!(!config.native);
        assert_eq!(config.willing(), Willing::default());
        assert_eq!(config.docker, EngineChoice::Auto);
        assert_eq!(config.given(), Given::default());
        assert!(read(&["--native"]).unwrap().native);
    }

    #[test]
    fn a_worker_may_keep_work_away() {
        let config = read(&["--accept-new=false", "--max-instances", "3"]).unwrap();
        let willing = Willing {
            accept_new: false,
            max_instances: 3,
        };
        assert_eq!(config.willing(), willing);
    }

    #[test]
    fn capacity_is_read_as_amounts() {
        let config = read(&[
            "--capacity",
            "cpu=1500m,memory=2Gi",
            "--docker",
            "/run/d.sock",
        ])
        .unwrap();
        let given = Given {
            cpu_millis: Some(1500),
            memory_bytes: Some(2 << 30),
        };
        assert_eq!(config.given(), given);
        assert_eq!(config.docker, EngineChoice::Socket("/run/d.sock".into()));
    }

    #[test]
    fn drivers_have_names_of_their_own() {
        let config = read(&["--drivers", "wasm=/run/w.sock,vm-2=/run/v.sock"]).unwrap();
        let names: Vec<String> = config.drivers().map(|d| d.name.to_string()).collect();
        assert_eq!(names, ["vm-2", "wasm"]);
        for bad in ["docker=/run/d.sock", "Wasm=/run/w.sock", "wasm=w.sock"] {
            let text = read(&["--drivers", bad]).unwrap_err();
            assert!(text.contains("drivers: "), "{bad}: {text}");
        }
    }

    #[test]
    fn every_bad_value_is_named_at_once() {
        let text = read(&[
            "--cluster",
            "wss://c:1",
            "--capacity",
            "cpu=x,disk=1",
            "--docker",
            "tcp://1",
            "--native-without-limits",
            "maybe",
        ])
        .unwrap_err();
        for part in [
            "cluster: ",
            "capacity: ",
            "disk",
            "docker (flag",
            "native_without_limits (flag",
        ] {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
    }
}
