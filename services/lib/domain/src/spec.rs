//! What one service asks for, checked: from the words of a manifest to types that cannot be wrong.

mod disconnect;
mod files;
mod sandbox;
mod signal;

use std::{collections::BTreeMap, time::Duration};

pub use disconnect::{
    DEFAULT_STOP_AFTER, Disconnect, DisconnectDraft, MIN_STOP_AFTER, Mode, Reconcile, Terms,
};
pub use files::{File, FileDraft, Source, Volume, VolumeDraft};
pub use sandbox::{CAPABILITIES, MAX_PIDS, Sandbox, SandboxDraft};
pub use signal::Signal;

use crate::{image, name::Name, quantity, resources::Resources, violation::Violations};

/// Most bytes of an encoded service spec. It travels in messages of 64 KiB with room for the entries beside it.
pub const MAX_SPEC_BYTES: usize = 48 * 1024;
/// Most services in one application.
pub const MAX_SERVICES: usize = 100;
/// Most replicas of one service.
pub const MAX_REPLICAS: u32 = 10_000;
/// Time to stop before the kill when the spec does not say, as in Docker.
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);
/// Longest time to stop: an hour.
pub const MAX_STOP_GRACE: Duration = Duration::from_secs(3600);

/// Runtimes by their names in specs.
pub mod runtime {
    /// Containers by the Docker engine.
    pub const DOCKER: &str = "docker";
    /// Containers by containerd, without a Docker engine.
    pub const CONTAINERD: &str = "containerd";
    /// Native processes.
    pub const PROCESS: &str = "process";

    /// Whether a runtime runs images and nothing else. A spec with an image that names no runtime takes any of these.
    #[must_use]
    pub fn needs_image(name: &str) -> bool {
        name == DOCKER || name == CONTAINERD
    }
}

/// The words of a manifest, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceDraft {
    /// Name.
    pub name: String,
    /// Replicas; `None` keeps what is.
    pub replicas: Option<u32>,
    /// Runtime or empty.
    pub runtime: String,
    /// Image or empty.
    pub image: String,
    /// Program and first arguments.
    pub command: Vec<String>,
    /// More arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Cores as a quantity, or empty.
    pub cpu: String,
    /// Memory as a quantity, or empty.
    pub memory: String,
    /// CPU architectures.
    pub architectures: Vec<String>,
    /// Ports: container, host, protocol.
    pub ports: Vec<(u32, u32, String)>,
    /// Pull policy or empty.
    pub pull: String,
    /// Restart policy or empty.
    pub restart: String,
    /// Stop grace as a duration, or empty.
    pub stop_grace: String,
    /// What happens while it cannot be heard.
    pub disconnect: DisconnectDraft,
    /// Directories.
    pub volumes: Vec<VolumeDraft>,
    /// Files.
    pub files: Vec<FileDraft>,
    /// A signal by name or number, or empty.
    pub stop_signal: String,
    /// A path or empty.
    pub working_dir: String,
    /// A user or empty.
    pub user: String,
    /// What it may do beyond the usual.
    pub sandbox: SandboxDraft,
}

/// When an image is pulled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PullPolicy {
    /// Before each start of a new instance.
    Always,
    /// When the worker does not have it.
    #[default]
    IfAbsent,
    /// Never: the worker must have it.
    Never,
}

/// When an instance that ended is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RestartPolicy {
    /// Whatever its exit code.
    #[default]
    Always,
    /// When its exit code is not 0.
    OnFailure,
    /// Never.
    Never,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A published port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// Inside the container.
    pub container: u16,
    /// On the worker; `None` lets the runtime choose.
    pub host: Option<u16>,
    /// Protocol.
    pub protocol: Protocol,
}

/// A checked service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Name.
    pub name: Name,
    /// Runtime by name. Empty with an image: any that runs images, see [`runtime::needs_image`].
    pub runtime: String,
    /// Image.
    pub image: Option<String>,
    /// Program and first arguments.
    pub command: Vec<String>,
    /// More arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// What is reserved and enforced; 0 where nothing is said.
    pub resources: Resources,
    /// CPU architectures; empty means any.
    pub architectures: Vec<String>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Pull policy.
    pub pull: PullPolicy,
    /// Restart policy.
    pub restart: RestartPolicy,
    /// Time to stop before the kill.
    pub stop_grace: Duration,
    /// What happens while it cannot be heard.
    pub disconnect: Disconnect,
    /// Directories that it sees.
    pub volumes: Vec<Volume>,
    /// Files that it finds.
    pub files: Vec<File>,
    /// What asks it to end; `None` is the image's choice, else TERM.
    pub stop_signal: Option<Signal>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// Who it runs as.
    pub user: Option<String>,
    /// What it may do beyond the usual.
    pub sandbox: Sandbox,
}

impl ServiceSpec {
    /// Checks the words of a manifest. Faults go to `faults` with paths below `path`; `None` if there were any.
    #[must_use]
    pub fn check(draft: &ServiceDraft, path: &str, faults: &mut Violations) -> Option<Self> {
        let at = |field: &str| format!("{path}.{field}");
        let mut own = Violations::default();
        let name = own.check(&at("name"), Name::new(&draft.name));
        let resources = check_resources(draft, path, &mut own);
        if draft.replicas.is_some_and(|n| n > MAX_REPLICAS) {
            own.add(at("replicas"), format!("must be from 0 to {MAX_REPLICAS}"));
        }
        check_program(draft, path, &mut own);
        for key in draft.env.keys().filter(|key| !is_env_name(key)) {
            let shown: String = key.chars().take(40).collect();
            own.add(
                at("env"),
                format!("{shown:?} cannot be the name of a variable: use letters, digits and '_'"),
            );
        }
        let nul = |text: &String| text.contains('\0');
        if draft
            .command
            .iter()
            .chain(&draft.args)
            .chain(draft.env.values())
            .any(nul)
        {
            own.add(
                path,
                "command, args and env must not contain NUL characters",
            );
        }
        for (index, architecture) in draft.architectures.iter().enumerate() {
            if !is_word(architecture) {
                own.add(
                    at(&format!("architectures[{index}]")),
                    "must be a name such as amd64 or arm64",
                );
            }
        }
        let ports = check_ports(draft, path, &mut own);
        let pull = pick(
            &at("pull"),
            &draft.pull,
            &mut own,
            &[
                ("if-absent", PullPolicy::IfAbsent),
                ("always", PullPolicy::Always),
                ("never", PullPolicy::Never),
            ],
        );
        let restart = pick(
            &at("restart"),
            &draft.restart,
            &mut own,
            &[
                ("always", RestartPolicy::Always),
                ("on-failure", RestartPolicy::OnFailure),
                ("never", RestartPolicy::Never),
            ],
        );
        let stop_grace = own.check(&at("stop_grace"), parse_grace(&draft.stop_grace));
        let disconnect = disconnect::check(&draft.disconnect, path, &mut own);
        let (volumes, files) = files::check(&draft.volumes, &draft.files, path, &mut own);
        let stop_signal = match draft.stop_signal.as_str() {
            "" => None,
            text => own.check(&at("stop_signal"), text.parse()),
        };
        if !draft.working_dir.is_empty() {
            own.check(&at("working_dir"), files::absolute(&draft.working_dir));
        }
        if !draft.user.is_empty() && !is_user(&draft.user) {
            own.add(
                at("user"),
                "must be a user such as 1000, www-data, 1000:1000 or www-data:staff",
            );
        }
        let sandbox = sandbox::check(&draft.sandbox, path, &mut own);
        if sandbox.host_network && !draft.ports.is_empty() {
            own.add(
                at("ports"),
                "on the worker's own network it binds its ports itself: leave them out",
            );
        }
        let runtime = match (draft.runtime.as_str(), draft.image.is_empty()) {
            ("", true) => runtime::PROCESS.to_owned(),
            (named, _) => named.to_owned(),
        };
        let whole = own.is_empty();
        for fault in own.into_vec() {
            faults.add(fault.path, fault.message);
        }
        whole.then_some(Self {
            name: name?,
            runtime,
            image: (!draft.image.is_empty()).then(|| draft.image.clone()),
            command: draft.command.clone(),
            args: draft.args.clone(),
            env: draft.env.clone(),
            resources,
            architectures: draft.architectures.clone(),
            ports,
            pull: pull?,
            restart: restart?,
            stop_grace: stop_grace?,
            disconnect: disconnect?,
            volumes,
            files,
            stop_signal,
            working_dir: some(&draft.working_dir),
            user: some(&draft.user),
            sandbox,
        })
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// `USER` or `USER:GROUP`, each a number or a name.
fn is_user(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word.len() <= 40
            && !word.starts_with('-')
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match text.split_once(':') {
        None => word(text),
        Some((user, group)) => word(user) && word(group),
    }
}

fn check_resources(draft: &ServiceDraft, path: &str, faults: &mut Violations) -> Resources {
    let mut read =
        |field: &str, text: &str, parse: fn(&str) -> Result<i64, quantity::QuantityError>| {
            if text.is_empty() {
                return 0;
            }
            faults
                .check(&format!("{path}.resources.{field}"), parse(text))
                .unwrap_or(0)
        };
    Resources {
        cpu_millis: read("cpu", &draft.cpu, quantity::cpu_millis),
        memory_bytes: read("memory", &draft.memory, quantity::bytes),
    }
}

/// Runtime, image and command go together.
fn check_program(draft: &ServiceDraft, path: &str, faults: &mut Violations) {
    let at = |field: &str| format!("{path}.{field}");
    if !draft.runtime.is_empty() && !is_word(&draft.runtime) {
        faults.add(
            at("runtime"),
            "must be the name of a runtime such as docker, containerd or process",
        );
    }
    let native =
        draft.runtime == runtime::PROCESS || draft.runtime.is_empty() && draft.image.is_empty();
    if draft.image.is_empty() {
        if runtime::needs_image(&draft.runtime) {
            let runtime = &draft.runtime;
            faults.add(at("image"), format!("is required by the runtime {runtime}"));
        } else if draft.command.is_empty() {
            faults.add(
                at("command"),
                "give an image, or the command of a native process",
            );
        }
    } else if native {
        faults.add(
            at("image"),
            "the runtime process takes no image: leave it out or use the runtime docker or containerd",
        );
    } else if let Err(error) = image::check(&draft.image) {
        faults.add(at("image"), error.to_string());
    }
    if draft.command.first().is_some_and(String::is_empty) {
        faults.add(at("command[0]"), "must name a program");
    }
    if native && !draft.ports.is_empty() {
        faults.add(
            at("ports"),
            "a native process binds its own ports: leave them out",
        );
    }
}

fn check_ports(draft: &ServiceDraft, path: &str, faults: &mut Violations) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for (index, (container, host, protocol)) in draft.ports.iter().enumerate() {
        let at = |field: &str| format!("{path}.ports[{index}].{field}");
        let number = |value: u32| u16::try_from(value).ok();
        let inside = number(*container).filter(|port| *port != 0);
        if inside.is_none() {
            faults.add(at("container"), "must be from 1 to 65535");
        }
        let outside = number(*host);
        if outside.is_none() {
            faults.add(
                at("host"),
                "must be from 1 to 65535, or 0 to let the runtime choose",
            );
        }
        let protocol = pick(
            &at("protocol"),
            protocol,
            faults,
            &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)],
        );
        let (Some(container), Some(host), Some(protocol)) = (inside, outside, protocol) else {
            continue;
        };
        let host = (host != 0).then_some(host);
        let clash = |p: &Port| {
            p.protocol == protocol && (p.container == container || host.is_some() && p.host == host)
        };
        if ports.iter().any(clash) {
            faults.add(at("container"), "is published twice, or its host port is");
        }
        ports.push(Port {
            container,
            host,
            protocol,
        });
    }
    ports
}

/// Takes the value of a word; the first one is the default.
fn pick<T: Copy>(
    path: &str,
    word: &str,
    faults: &mut Violations,
    words: &[(&str, T)],
) -> Option<T> {
    if word.is_empty() {
        return words.first().map(|(_, value)| *value);
    }
    let found = words
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, value)| *value);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        faults.add(path, format!("must be one of: {}", known.join(", ")));
    }
    found
}

/// Why a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time such as 10s, 500ms or 2m, one hour at most")]
pub struct GraceError;

fn parse_grace(text: &str) -> Result<Duration, GraceError> {
    if text.is_empty() {
        return Ok(DEFAULT_STOP_GRACE);
    }
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(GraceError)?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| GraceError)?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    let grace = Duration::from_millis(millis.ok_or(GraceError)?);
    if grace <= MAX_STOP_GRACE {
        Ok(grace)
    } else {
        Err(GraceError)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 40
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '/'))
}

fn is_env_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(first)
        && text
            .chars()
            .all(|c| first(c) || c.is_ascii_digit() || c == '.' || c == '-')
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
