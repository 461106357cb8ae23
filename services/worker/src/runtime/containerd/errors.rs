//! What containerd's refusals mean. The only place that reads its texts.

use std::error::Error as _;

use containerd_client::tonic::{Code, Status};
use oci_client::errors::{OciDistributionError, OciErrorCode};

use crate::runtime::{BoxError, ErrorClass, InstanceId, RuntimeError, RuntimeKind, is_wrong_job};

/// Whether the engine did not answer at all.
pub(super) fn is_unreachable(status: &Status) -> bool {
    // The engine itself says UNAVAILABLE when its shim does not answer; then there is no transport error below.
    status.code() == Code::Unavailable
        || (status.code() == Code::Unknown && status.source().is_some())
}

/// The engine did not answer.
pub(super) fn unreachable(socket: &str, why: impl Into<BoxError>) -> RuntimeError {
    RuntimeError::Reach {
        runtime: RuntimeKind::CONTAINERD,
        at: socket.to_owned(),
        source: why.into(),
    }
}

/// A verb on one instance that failed.
pub(super) struct Failure<'a> {
    pub(super) socket: &'a str,
    pub(super) verb: &'static str,
    pub(super) instance: InstanceId,
}

impl Failure<'_> {
    /// With what the engine said.
    pub(super) fn because(self, status: Status) -> RuntimeError {
        if is_unreachable(&status) {
            return unreachable(self.socket, status);
        }
        match class(&status) {
            ErrorClass::Gone => RuntimeError::Gone {
                instance: self.instance,
                verb: self.verb,
            },
            class => self.told(class, status.message().to_owned()),
        }
    }

    /// With a reason of ours.
    pub(super) fn told(self, class: ErrorClass, why: impl Into<BoxError>) -> RuntimeError {
        let (verb, instance) = (self.verb, self.instance);
        RuntimeError::Verb {
            verb,
            instance,
            class,
            source: why.into(),
        }
    }

    /// With a file of ours.
    pub(super) fn file(self, error: std::io::Error) -> RuntimeError {
        self.told(ErrorClass::Retry, error)
    }
}

fn class(status: &Status) -> ErrorClass {
    match status.code() {
        Code::NotFound => ErrorClass::Gone,
        Code::InvalidArgument => ErrorClass::Permanent,
        _ if is_wrong_job(status.message()) => ErrorClass::Permanent,
        _ => ErrorClass::Retry,
    }
}

/// What a registry's refusal means: an image that nobody has is permanent, a registry that does not answer is not.
pub(super) fn pull_class(error: &OciDistributionError) -> ErrorClass {
    use OciDistributionError as E;
    match error {
        E::ImageManifestNotFoundError(_)
        | E::UnauthorizedError { .. }
        | E::AuthenticationFailure(_)
        | E::UnsupportedMediaTypeError(_)
        | E::UnsupportedSchemaVersionError(_)
        | E::ManifestParsingError(_)
        | E::VersionedParsingError(_)
        | E::DigestError(_) => ErrorClass::Permanent,
        E::RegistryError { envelope, .. } => {
            let lasting = |code: &OciErrorCode| {
                matches!(
                    code,
                    OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::NameInvalid
                        | OciErrorCode::NotFound
                        | OciErrorCode::Denied
                        | OciErrorCode::Unauthorized
                        | OciErrorCode::BlobUnknown
                )
            };
            if envelope.errors.iter().any(|e| lasting(&e.code)) {
                ErrorClass::Permanent
            } else {
                ErrorClass::Retry
            }
        }
        E::ServerError { code, .. } if (400..500).contains(code) && *code != 429 => {
            ErrorClass::Permanent
        }
        _ => ErrorClass::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_start_means() {
        let runc = "failed to create shim task: OCI runtime create failed: runc create failed: \
                    unable to start container process: exec: \"/no\": stat /no: no such file or directory: unknown";
        let cases = [
            (Status::unknown(runc), ErrorClass::Permanent),
            (
                Status::not_found("container \"x\" in namespace"),
                ErrorClass::Gone,
            ),
            (Status::unknown("ttrpc: closed"), ErrorClass::Retry),
            (Status::invalid_argument("id"), ErrorClass::Permanent),
        ];
        for (status, want) in cases {
            assert_eq!(class(&status), want, "{status}");
        }
    }

    #[test]
    fn a_silent_engine_is_unreachable() {
        assert!(is_unreachable(&Status::unavailable("connect")));
        assert!(!is_unreachable(&Status::unknown("said by the engine")));
    }
}
