//! From a job to what the engine is asked to create. Pure.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::pull::Reference;
use crate::runtime::{JobSpec, PIDS_LIMIT, RuntimeError, RuntimeKind, label};

/// Output kept for one container: two files of this size, as much as a small node's disk bears for a hundred containers.
const LOG_FILE: &str = "5m";

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
            pids_limit: Some(PIDS_LIMIT),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
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
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
