//! Kinds of services: what their manifests say about silence. An application has one kind, whatever its version.

use edgeio_domain::ids::SpecHash;
use edgeio_link::spec;
use edgeio_proto::api::v1;

use super::{machine::JOB_CPU, queue::Queue};

/// Versions of a spec that users ask for.
pub(super) const VERSIONS: u32 = 3;

/// The longest time after which an exclusive service stops itself, in seconds.
pub(super) const LONGEST_STOP: u64 = 13;

/// What happens to a service whose worker or cluster cannot be heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A substitute may run beside it, unless it is never replaced; then this policy picks.
    Available {
        reconcile: &'static str,
        replace: bool,
    },
    /// Never two: it stops itself after so many seconds.
    Exclusive { stop_after: u64 },
}

impl Kind {
    pub(super) fn draw(queue: &mut Queue) -> Self {
        if queue.chance(35) {
            return Self::Exclusive {
                stop_after: [5, LONGEST_STOP, LONGEST_STOP][queue.below(3)],
            };
        }
        Self::Available {
            reconcile: ["", "keep-replacement", "longest-running"][queue.below(3)],
            replace: queue.chance(90),
        }
    }

    pub(super) fn is_exclusive(self) -> bool {
        matches!(self, Self::Exclusive { .. })
    }

    fn words(self) -> v1::DisconnectSpec {
        match self {
            Self::Available { reconcile, replace } => v1::DisconnectSpec {
                mode: "available".to_owned(),
                reconcile: reconcile.to_owned(),
                replace: if replace { "auto" } else { "never" }.to_owned(),
                ..Default::default()
            },
            Self::Exclusive { stop_after } => v1::DisconnectSpec {
                mode: "exclusive".to_owned(),
                stop_after: format!("{stop_after}s"),
                ..Default::default()
            },
        }
    }

    /// The service of one version of the spec.
    pub(super) fn service(self, version: u32, replicas: Option<u32>) -> v1::ServiceSpec {
        v1::ServiceSpec {
            name: "job".to_owned(),
            replicas,
            runtime: "fake".to_owned(),
            command: vec!["/bin/job".to_owned(), version.to_string()],
            resources: Some(v1::ResourceSpec {
                cpu: format!("{JOB_CPU}m"),
                memory: "16Mi".to_owned(),
            }),
            stop_grace: "1s".to_owned(),
            disconnect: Some(self.words()),
            ..Default::default()
        }
    }

    /// The hash of one version of the spec.
    pub(super) fn hash(self, version: u32) -> SpecHash {
        spec::encode(&self.service(version, None)).0
    }
}
