//! From a job to what the engine is asked to create. Pure.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigLogConfig, Mount, MountType,
    PortBinding, RestartPolicy, RestartPolicyNameEnum,
};

use super::pull::Reference;
use crate::runtime::{
    JobSpec, RuntimeError, RuntimeKind, label,
    sandbox::{MASKED, READ_ONLY, is_whole_machine},
};

/// Output kept for one container: two files of this size, as much as a small node's disk bears for a hundred containers.
const LOG_FILE: &str = "5m";

/// Capabilities that Docker 20.10, the oldest that we speak to, refuses to be asked for.
const NEWEST: [&str; 3] = ["BPF", "CHECKPOINT_RESTORE", "PERFMON"];

/// Refuses what no container can be made of, and returns the image.
pub(super) fn check(job: &JobSpec) -> Result<Reference, RuntimeError> {
    let invalid = |field, why: &str| {
        let runtime = RuntimeKind::DOCKER;
        RuntimeError::Invalid {
            runtime,
            field,
            why: why.to_owned(),
        }
    };
    let image = job
        .image
        .as_deref()
        .ok_or_else(|| invalid("image", "a container needs one"))?;
    if job.env.keys().any(|k| k.is_empty() || k.contains('=')) {
        return Err(invalid("env", "a name is empty or holds `=`"));
    }
    let image = Reference::parse(image).map_err(|why| invalid("image", why))?;
    Ok(match &job.image_digest {
        Some(digest) => image.pinned(digest),
        None => image,
    })
}

/// The container of a job. `command` and `args` mean what they mean in Kubernetes: entry point and arguments.
pub(super) fn body(job: &JobSpec, image: &Reference) -> ContainerCreateBody {
    let port = |p: &crate::runtime::Port| format!("{}/{}", p.container, p.protocol.as_str());
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for p in &job.ports {
        let host_port = Some(p.host.map(|h| h.to_string()).unwrap_or_default());
        let binding = PortBinding {
            host_ip: None,
            host_port,
        };
        bindings
            .entry(port(p))
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let grace = job.stop_grace.as_secs() + u64::from(job.stop_grace.subsec_nanos() > 0);
    let log_options = [("max-size", LOG_FILE), ("max-file", "2")];
    ContainerCreateBody {
        image: Some(image.to_string()),
        entrypoint: some(&job.command),
        cmd: some(&job.args),
        env: Some(job.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        working_dir: job.working_dir.clone(),
        user: job.user.clone(),
        stop_signal: job.stop_signal.map(|number| number.to_string()),
        labels: Some(label::write(&job.labels)),
        exposed_ports: Some(job.ports.iter().map(port).collect()),
        stop_timeout: i64::try_from(grace).ok(),
        host_config: Some(HostConfig {
            port_bindings: Some(bindings),
            nano_cpus: job
                .cpu_millis
                .map(|millis| millis.saturating_mul(1_000_000)),
            memory: job.memory_bytes,
            // The same number: no swap beside it.
            memory_swap: job.memory_bytes,
            mounts: Some(job.mounts.iter().map(mount).collect()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(
                    log_options
                        .map(|(k, v)| (k.to_owned(), v.to_owned()))
                        .into_iter()
                        .collect(),
                ),
            }),
            ..sandboxed(job)
        }),
        ..ContainerCreateBody::default()
    }
}

fn mount(mount: &crate::runtime::Mount) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.display().to_string()),
        target: Some(mount.target.display().to_string()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    }
}

/// What the job may do. The engine's own profile of system calls stays: it is stricter than ours.
fn sandboxed(job: &JobSpec) -> HostConfig {
    let sandbox = &job.sandbox;
    let words = |list: &[&str]| Some(list.iter().map(|w| (*w).to_owned()).collect());
    let device = |path: &String| DeviceMapping {
        path_on_host: Some(path.clone()),
        path_in_container: Some(path.clone()),
        cgroup_permissions: Some("rwm".to_owned()),
    };
    let usual = HostConfig {
        network_mode: sandbox.host_network.then(|| "host".to_owned()),
        readonly_rootfs: Some(sandbox.read_only),
        pids_limit: Some(i64::from(sandbox.pids)),
        ..HostConfig::default()
    };
    if sandbox.privileged && is_whole_machine() {
        return HostConfig {
            privileged: Some(true),
            ..usual
        };
    }
    if sandbox.privileged {
        // The engine's word for it asks for powers that this machine does not have, and fails; and engines of this API do not know the
        // newest ones.
        let mut kept = sandbox.kept();
        kept.retain(|name| !NEWEST.contains(name));
        return HostConfig {
            cap_drop: words(&["ALL"]),
            cap_add: words(&kept),
            device_cgroup_rules: words(&["a *:* rwm"]),
            security_opt: words(&["seccomp=unconfined", "apparmor=unconfined"]),
            masked_paths: words(&[]),
            readonly_paths: words(&[]),
            ..usual
        };
    }
    HostConfig {
        cap_drop: words(&["ALL"]),
        cap_add: words(&sandbox.kept()),
        devices: Some(sandbox.devices.iter().map(device).collect()),
        security_opt: words(&["no-new-privileges"]),
        masked_paths: words(&MASKED),
        readonly_paths: words(&READ_ONLY),
        ..usual
    }
}
