//! Why a runtime's verb failed, and what that means for trying again.
//!
//! Drivers classify; nothing above them reads an engine's text.

use super::{Feature, InstanceId, RuntimeKind};

/// What a foreign library failed with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What a failure means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// May go away by itself: try again with backoff.
    Retry,
    /// The same request fails again on this node: refuse the assignment.
    Permanent,
    /// The engine does not have the instance.
    Gone,
}

/// A verb of a runtime that did not succeed. The variant names the attempt, the source tells why.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not answer.
    #[error("reach the {runtime} engine at `{at}`")]
    Reach {
        /// The runtime.
        runtime: RuntimeKind,
        /// Socket or directory.
        at: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The image could not be fetched.
    #[error("pull image `{image}`")]
    Pull {
        /// The reference asked for.
        image: String,
        /// What it means.
        class: ErrorClass,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The pull policy forbids fetching an image that is not there.
    #[error("image `{image}` is not on this node and the pull policy is `never`")]
    ImageAbsent {
        /// The reference asked for.
        image: String,
    },
    /// The job asks for something this runtime has no way to give.
    #[error("{runtime} refuses `{field}`: {why}")]
    Invalid {
        /// The runtime.
        runtime: RuntimeKind,
        /// The part of the job.
        field: &'static str,
        /// Why.
        why: String,
    },
    /// The job needs what this node cannot do.
    #[error("{runtime} has no `{}` on this node: {why}", feature.as_str())]
    Unsupported {
        /// The runtime.
        runtime: RuntimeKind,
        /// What is missing.
        feature: Feature,
        /// Why.
        why: String,
    },
    /// The node's own policy does not allow what the job asks for.
    #[error("this worker does not allow `{what}`: {why}")]
    Forbidden {
        /// What the job asks for.
        what: String,
        /// Why it is not given, and what would allow it.
        why: String,
    },
    /// The instance, or its name, is taken by something else.
    #[error("instance {instance} conflicts with what the engine has: {why}")]
    Conflict {
        /// The instance asked for.
        instance: InstanceId,
        /// What is in the way.
        why: String,
    },
    /// The engine does not have the instance, or it does not run.
    #[error("instance {instance} is not there to {verb}")]
    Gone {
        /// The instance.
        instance: InstanceId,
        /// What was attempted.
        verb: &'static str,
    },
    /// Any other verb on one instance.
    #[error("{verb} instance {instance}")]
    Verb {
        /// What was attempted: `create`, `start`, `stop`, `remove`, `pause`, `resume`, `measure`, `read the output of`.
        verb: &'static str,
        /// The instance.
        instance: InstanceId,
        /// What it means.
        class: ErrorClass,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A verb on the engine as a whole.
    #[error("{verb} of the {runtime} engine")]
    Engine {
        /// What was attempted: `list instances`, `watch events`.
        verb: &'static str,
        /// The runtime.
        runtime: RuntimeKind,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl RuntimeError {
    /// What this failure means for the next attempt.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Reach { .. } | Self::Engine { .. } => ErrorClass::Retry,
            Self::Pull { class, .. } | Self::Verb { class, .. } => *class,
            Self::ImageAbsent { .. }
            | Self::Invalid { .. }
            | Self::Unsupported { .. }
            | Self::Forbidden { .. }
            | Self::Conflict { .. } => ErrorClass::Permanent,
            Self::Gone { .. } => ErrorClass::Gone,
        }
    }

    /// The failure with its whole chain in one line, for a user who sees no log.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            next = cause.source();
        }
        line
    }
}

/// Texts of the OCI runtime, which all container engines pass on, for what the image or the command gets wrong: the same on every
/// attempt.
const WRONG_JOB: [&str; 5] = [
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "exec format error",
    "not a directory",
];

/// Whether a container engine refused a start for what the job itself gets wrong.
pub(super) fn is_wrong_job(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("oci runtime") && WRONG_JOB.iter().any(|wrong| text.contains(wrong))
}
