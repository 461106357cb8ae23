//! From a job and its image to the OCI runtime specification. Pure.
//!
//! Written as JSON, the form the specification has (<https://github.com/opencontainers/runtime-spec>, 1.0.2).

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::image::ImageConfig;
use crate::runtime::{
    JobSpec, Mount,
    sandbox::{MASKED, READ_ONLY},
    seccomp,
    users::User,
};

/// Where we put a container's control group, below the mounts.
pub(super) const CGROUP_PARENT: &str = "/edgeio";

/// The kernel's usual accounting period, in microseconds.
const CPU_PERIOD_US: i64 = 100_000;

/// What a job without a path of its own searches.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A device of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) path: String,
    /// Whether it is one of blocks; else of characters.
    pub(super) block: bool,
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// What this node adds to a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    /// Holds `hosts` and `resolv.conf` of the instance.
    pub(super) home: &'a Path,
    /// Whether the kernel accounts swap: without it a limit on it cannot be written.
    pub(super) swap: bool,
    /// What the job was given of the node's devices.
    pub(super) devices: &'a [Device],
    /// One shim process serves all containers of this name; `None` gives each its own.
    pub(super) shim_group: Option<&'a str>,
}

/// What runs: `command` and `args` mean what they mean in Kubernetes, entry point and arguments.
pub(super) fn argv(job: &JobSpec, image: &ImageConfig) -> Vec<String> {
    let (entry, own) = (&job.command, &job.args);
    let entry_of_image = entry.is_empty();
    let mut argv = if entry_of_image {
        image.entrypoint.clone()
    } else {
        entry.clone()
    };
    match (entry_of_image, own.is_empty()) {
        (true, true) => argv.extend(image.cmd.iter().cloned()),
        _ => argv.extend(own.iter().cloned()),
    }
    argv
}

fn environment(job: &JobSpec, image: &ImageConfig) -> Vec<String> {
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([("PATH", PATH)]);
    all.extend(image.env.iter().filter_map(|line| line.split_once('=')));
    all.extend(job.env.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    all.into_iter().map(|(k, v)| format!("{k}={v}")).collect()
}

/// The device as the job finds it.
fn device(device: &Device) -> Value {
    json!({"path": device.path, "type": if device.block { "b" } else { "c" },
        "major": device.major, "minor": device.minor, "fileMode": 0o660, "uid": 0, "gid": 0})
}

fn resources(job: &JobSpec, node: Node<'_>) -> Value {
    let mut resources = json!({
        "devices": [{"allow": job.sandbox.privileged, "access": "rwm"}],
        "pids": {"limit": job.sandbox.pids},
    });
    for device in node.devices {
        let kind = if device.block { "b" } else { "c" };
        let rule = json!({"allow": true, "type": kind, "major": device.major, "minor": device.minor, "access": "rwm"});
        if let Some(rules) = resources["devices"].as_array_mut() {
            rules.push(rule);
        }
    }
    if let Some(millis) = job.cpu_millis {
        // The kernel takes no quota below a millisecond.
        let quota = (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(1_000);
        resources["cpu"] = json!({"quota": quota, "period": CPU_PERIOD_US});
    }
    if let Some(bytes) = job.memory_bytes {
        resources["memory"] = json!({"limit": bytes});
        if node.swap {
            // The same number: no swap beside it.
            resources["memory"]["swap"] = json!(bytes);
        }
    }
    resources
}

/// What is mounted in every job. With `all` its devices are the node's.
fn usual(home: &Path, all: bool) -> Vec<Value> {
    let file = |name: &str| {
        json!({"destination": format!("/etc/{name}"), "type": "bind", "source": home.join(name),
            "options": ["rbind", "rprivate", "rw", "nosuid", "nodev"]})
    };
    let system = if all { "rw" } else { "ro" };
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", system]}),
        json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        file("hosts"),
        file("resolv.conf"),
    ];
    if all {
        // With all that is mounted below it.
        mounts.push(json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rprivate", "rw"]}));
        return mounts;
    }
    mounts.extend([
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]}),
    ]);
    mounts
}

fn mount(mount: &Mount) -> Value {
    let write = if mount.read_only { "ro" } else { "rw" };
    json!({"destination": mount.target, "type": "bind", "source": mount.source,
        "options": ["rbind", "rprivate", "nosuid", "nodev", write]})
}

/// The host name inside: the kernel takes 64 bytes, and names of ours may be longer.
fn hostname(job: &JobSpec) -> String {
    job.name.chars().take(63).collect()
}

/// The specification of a job's container.
pub(super) fn build(job: &JobSpec, image: &ImageConfig, user: User, node: Node<'_>) -> Value {
    let cwd = job
        .working_dir
        .as_deref()
        .or(image.working_dir.as_deref())
        .filter(|dir| !dir.is_empty())
        .unwrap_or("/");
    let sandbox = &job.sandbox;
    let kept: Vec<String> = if user.uid == 0 || sandbox.privileged {
        let named = sandbox.kept().into_iter();
        named.map(|name| format!("CAP_{name}")).collect()
    } else {
        Vec::new()
    };
    let mut mounts = usual(node.home, sandbox.privileged);
    mounts.extend(job.mounts.iter().map(mount));
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if !sandbox.host_network {
        namespaces.push("network");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|n| json!({"type": n})).collect();
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": user.uid, "gid": user.gid},
            "args": argv(job, image),
            "env": environment(job, image),
            "cwd": cwd,
            "noNewPrivileges": !sandbox.privileged,
            "capabilities": {"bounding": kept, "effective": kept, "permitted": kept},
        },
        "root": {"path": "rootfs", "readonly": sandbox.read_only},
        "hostname": hostname(job),
        "mounts": mounts,
        "linux": {
            "cgroupsPath": format!("{CGROUP_PARENT}/{}", job.instance()),
            "namespaces": namespaces,
            "resources": resources(job, node),
        },
    });
    if !sandbox.privileged {
        let linux = &mut spec["linux"];
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
        linux["seccomp"] = seccomp::profile();
        linux["devices"] = node.devices.iter().map(device).collect();
    }
    if let Some(group) = node.shim_group {
        spec["annotations"] = json!({"io.containerd.runc.v2.group": group});
    }
    spec
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::runtime::{InstanceId, Labels, PIDS_LIMIT, PullPolicy, SandboxSpec};

    fn job() -> JobSpec {
        JobSpec {
            name: "edgeio-shop-web-0-01234567".to_owned(),
            labels: Labels {
                cluster: Uuid::from_u128(1),
                worker: Uuid::from_u128(2),
                instance: InstanceId(Uuid::from_u128(3)),
                spec_hash: "ab".to_owned(),
            },
            image: Some("x".to_owned()),
            image_digest: None,
            pull: PullPolicy::Never,
            command: Vec::new(),
            args: Vec::new(),
            env: [("A".to_owned(), "job".to_owned())].into(),
            cpu_millis: Some(250),
            memory_bytes: Some(32 << 20),
            ports: Vec::new(),
            working_dir: None,
            user: None,
            stop_signal: None,
            mounts: Vec::new(),
            provisions: Vec::new(),
            sandbox: SandboxSpec::default(),
            stop_grace: Duration::from_secs(5),
            lease: None,
        }
    }

    fn image() -> ImageConfig {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
        ImageConfig {
            entrypoint: words(&["/entry"]),
            cmd: words(&["default"]),
            env: words(&["A=image", "B=image"]),
            working_dir: Some("/srv".to_owned()),
            ..ImageConfig::default()
        }
    }

    fn spec(job: &JobSpec, user: User) -> Value {
        let node = Node {
            home: Path::new("/h"),
            swap: true,
            devices: &[],
            shim_group: None,
        };
        build(job, &image(), user, node)
    }

    #[test]
    fn command_and_arguments_replace_the_images() {
        let cases: [(&[&str], &[&str], &[&str]); 4] = [
            (&[], &[], &["/entry", "default"]),
            (&[], &["own"], &["/entry", "own"]),
            (&["/cmd"], &[], &["/cmd"]),
            (&["/cmd"], &["own"], &["/cmd", "own"]),
        ];
        for (command, args, want) in cases {
            let mut job = job();
            job.command = command.iter().map(|w| (*w).to_owned()).collect();
            job.args = args.iter().map(|w| (*w).to_owned()).collect();
            assert_eq!(argv(&job, &image()), want);
        }
    }

    #[test]
    fn the_jobs_environment_wins_and_a_path_is_always_there() {
        let env = environment(&job(), &image());
        assert_eq!(env[..2], ["A=job", "B=image"]);
        assert!(env[2].starts_with("PATH=/usr/local/sbin:"));
    }

    #[test]
    fn limits_are_the_kernels_numbers() {
        let all = spec(&job(), User::default());
        let resources = &all["linux"]["resources"];
        assert_eq!(
            resources["cpu"],
            json!({"quota": 25_000, "period": 100_000})
        );
        assert_eq!(
            resources["memory"],
            json!({"limit": 33_554_432, "swap": 33_554_432})
        );
        assert_eq!(resources["pids"]["limit"], PIDS_LIMIT);
        let mut free = job();
        (free.cpu_millis, free.memory_bytes) = (None, None);
        assert_eq!(
            spec(&free, User::default())["linux"]["resources"]["memory"],
            Value::Null
        );
    }

    #[test]
    fn nobody_inside_has_more_than_a_daemon_needs() {
        let root = spec(&job(), User::default());
        let bounding = root["process"]["capabilities"]["bounding"].to_string();
        for refused in ["SYS_ADMIN", "NET_RAW", "MKNOD", "SYS_PTRACE", "NET_ADMIN"] {
            assert!(!bounding.contains(refused), "{bounding}");
        }
        assert_eq!(root["process"]["noNewPrivileges"], true);
        let other = spec(
            &job(),
            User {
                uid: 1000,
                gid: 1000,
            },
        );
        assert_eq!(other["process"]["capabilities"]["bounding"], json!([]));
        assert_eq!(other["process"]["cwd"], "/srv");
        assert!(root["linux"]["seccomp"]["syscalls"].is_array());
    }

    #[test]
    fn what_was_allowed_is_given_and_no_more() {
        let mut open = job();
        open.sandbox.host_network = true;
        open.sandbox.read_only = true;
        open.sandbox.pids = 7;
        open.mounts.push(Mount {
            source: "/v/data".into(),
            target: "/data".into(),
            read_only: true,
        });
        let made = spec(&open, User::default());
        assert!(!made["linux"]["namespaces"].to_string().contains("network"));
        assert_eq!(made["root"]["readonly"], true);
        assert_eq!(made["linux"]["resources"]["pids"]["limit"], 7);
        let mounts = made["mounts"].as_array().unwrap();
        let last = mounts.last().unwrap();
        assert_eq!(
            (&last["source"], &last["destination"]),
            (&json!("/v/data"), &json!("/data"))
        );
        assert_eq!(last["options"][4], "ro");
        assert!(made["linux"]["seccomp"].is_object());

        open.sandbox.privileged = true;
        let made = spec(&open, User::default());
        assert!(made["linux"]["seccomp"].is_null() && made["linux"]["maskedPaths"].is_null());
        assert_eq!(made["linux"]["resources"]["devices"][0]["allow"], true);
    }
}
