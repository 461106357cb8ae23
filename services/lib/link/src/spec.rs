//! Service specs between the wire, their bytes and the domain.

use std::collections::BTreeMap;

use edgeio_domain::{
    ids::SpecHash,
    spec::{
        DisconnectDraft, FileDraft, MAX_SPEC_BYTES, SandboxDraft, ServiceDraft, ServiceSpec,
        VolumeDraft,
    },
    violation::Violations,
};
use edgeio_proto::api::v1;
use prost::Message;

/// Why the bytes of a spec cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// They are not a spec.
    #[error("decode service spec")]
    Decode(#[from] prost::DecodeError),
    /// They are a spec that this version does not accept.
    #[error("service spec is not valid: {0}")]
    Invalid(String),
}

/// The words of a manifest.
#[must_use]
pub fn draft(spec: &v1::ServiceSpec) -> ServiceDraft {
    let resources = spec.resources.clone().unwrap_or_default();
    let disconnect = spec.disconnect.clone().unwrap_or_default();
    let sandbox = spec.sandbox.clone().unwrap_or_default();
    let volume = |v: &v1::VolumeSpec| VolumeDraft {
        name: v.name.clone(),
        path: v.path.clone(),
        host: v.host.clone(),
        read_only: v.read_only,
        shared: v.shared,
    };
    let file = |f: &v1::FileSpec| FileDraft {
        path: f.path.clone(),
        content: f.content.clone(),
        executable: f.executable,
    };
    ServiceDraft {
        name: spec.name.clone(),
        replicas: spec.replicas,
        runtime: spec.runtime.clone(),
        image: spec.image.clone(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        env: spec
            .env
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<BTreeMap<_, _>>(),
        cpu: resources.cpu,
        memory: resources.memory,
        architectures: spec.architectures.clone(),
        ports: spec
            .ports
            .iter()
            .map(|p| (p.container, p.host, p.protocol.clone()))
            .collect(),
        pull: spec.pull.clone(),
        restart: spec.restart.clone(),
        stop_grace: spec.stop_grace.clone(),
        disconnect: DisconnectDraft {
            mode: disconnect.mode,
            reconcile: disconnect.reconcile,
            stop_after: disconnect.stop_after,
            replace: disconnect.replace,
        },
        volumes: spec.volumes.iter().map(volume).collect(),
        files: spec.files.iter().map(file).collect(),
        stop_signal: spec.stop_signal.clone(),
        working_dir: spec.working_dir.clone(),
        user: spec.user.clone(),
        sandbox: SandboxDraft {
            privileged: sandbox.privileged,
            host_network: sandbox.host_network,
            read_only: sandbox.read_only,
            capabilities: sandbox.capabilities,
            devices: sandbox.devices,
            pids: sandbox.pids,
        },
    }
}

/// Encodes a spec once, at its acceptance. The number of replicas is not part of it: scaling is no new spec.
#[must_use]
pub fn encode(spec: &v1::ServiceSpec) -> (SpecHash, Vec<u8>) {
    let body = v1::ServiceSpec {
        replicas: None,
        ..spec.clone()
    }
    .encode_to_vec();
    (SpecHash::of(&body), body)
}

/// Whether an encoded spec is too long to travel.
#[must_use]
pub fn too_long(body: &[u8]) -> bool {
    body.len() > MAX_SPEC_BYTES
}

/// Reads the bytes of a spec.
///
/// # Errors
/// They are not a spec, or one that this version does not accept.
pub fn decode(body: &[u8]) -> Result<ServiceSpec, SpecError> {
    let message = v1::ServiceSpec::decode(body)?;
    let mut faults = Violations::default();
    let spec = ServiceSpec::check(&draft(&message), "spec", &mut faults);
    spec.ok_or_else(|| {
        let list: Vec<String> = faults.into_vec().iter().map(ToString::to_string).collect();
        SpecError::Invalid(list.join("; "))
    })
}

/// Reads the bytes of a spec as the message that a user wrote.
///
/// # Errors
/// They are not a spec.
pub fn message(body: &[u8]) -> Result<v1::ServiceSpec, SpecError> {
    Ok(v1::ServiceSpec::decode(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_ignores_replicas_and_nothing_else() {
        let spec = v1::ServiceSpec {
            name: "web".into(),
            image: "a:1".into(),
            ..Default::default()
        };
        let hash = |spec: &v1::ServiceSpec| encode(spec).0;
        assert_eq!(
            hash(&spec),
            hash(&v1::ServiceSpec {
                replicas: Some(3),
                ..spec.clone()
            })
        );
        assert_ne!(
            hash(&spec),
            hash(&v1::ServiceSpec {
                image: "a:2".into(),
                ..spec.clone()
            })
        );
        let mut env = spec.clone();
        env.env.insert("b".into(), "1".into());
        env.env.insert("a".into(), "2".into());
        assert_eq!(
            hash(&env),
            hash(&v1::ServiceSpec::decode(env.encode_to_vec().as_slice()).unwrap())
        );
    }

    #[test]
    fn bytes_that_are_no_spec_are_refused_and_not_guessed() {
        assert!(matches!(decode(&[0xff, 0xff]), Err(SpecError::Decode(_))));
        assert!(matches!(decode(&[]), Err(SpecError::Invalid(_))));
    }
}
