//! What the engine's refusals mean. The only place that reads its texts.

use bollard::errors::Error;

use crate::runtime::{BoxError, ErrorClass, InstanceId, RuntimeError, RuntimeKind, is_wrong_job};

/// The HTTP status of a refusal.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether the engine did not answer at all.
pub(super) fn is_unreachable(error: &Error) -> bool {
    matches!(
        error,
        Error::RequestTimeoutError
            | Error::IOError { .. }
            | Error::HyperResponseError { .. }
            | Error::HyperLegacyError { .. }
            | Error::SocketNotFoundError(_)
    )
}

/// Whether creating was refused for want of the image.
pub(super) fn no_such_image(error: &Error) -> bool {
    text(error).contains("no such image")
}

fn text(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.to_lowercase(),
        Error::DockerStreamError { error } => error.to_lowercase(),
        _ => String::new(),
    }
}

/// The verb that failed.
pub(super) struct Failure<'a> {
    pub(super) socket: &'a str,
    pub(super) verb: &'static str,
    pub(super) instance: InstanceId,
}

impl Failure<'_> {
    /// With what the engine said.
    pub(super) fn because(self, error: Error) -> RuntimeError {
        if is_unreachable(&error) {
            let (runtime, at) = (RuntimeKind::DOCKER, self.socket.to_owned());
            return RuntimeError::Reach {
                runtime,
                at,
                source: error.into(),
            };
        }
        match class(&error) {
            ErrorClass::Gone => RuntimeError::Gone {
                instance: self.instance,
                verb: self.verb,
            },
            class => self.told(class, error),
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
}

fn class(error: &Error) -> ErrorClass {
    match status(error) {
        Some(404) => ErrorClass::Gone,
        Some(400) => ErrorClass::Permanent,
        _ if is_wrong_job(&text(error)) => ErrorClass::Permanent,
        _ => ErrorClass::Retry,
    }
}

/// Texts of registries, and of the engine about references, that another attempt does not change.
const WRONG_IMAGE: [&str; 9] = [
    "no basic auth credentials",
    "manifest unknown",
    "name unknown",
    "not found",
    "no matching manifest",
    "pull access denied",
    "repository does not exist",
    "unauthorized",
    "invalid reference",
];

/// What a failed pull means: an image that nobody has is permanent, a registry that does not answer is not.
pub(super) fn pull_class(error: &Error) -> ErrorClass {
    let text = text(error);
    // A name that does not resolve is also "not found", but comes back with the network.
    let network = text.contains("dial tcp") || text.contains("no such host");
    match status(error) {
        Some(400) => ErrorClass::Permanent,
        _ if network => ErrorClass::Retry,
        Some(404) => ErrorClass::Permanent,
        _ if WRONG_IMAGE.iter().any(|wrong| text.contains(wrong)) => ErrorClass::Permanent,
        _ => ErrorClass::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn what_a_failed_pull_means() {
        use ErrorClass::{Permanent, Retry};
        let cases = [
            (
                404,
                "manifest for 127.0.0.1:15000/x:1 not found: manifest unknown",
                Permanent,
            ),
            (
                404,
                "pull access denied for x, repository does not exist or may require login",
                Permanent,
            ),
            (400, "invalid reference format", Permanent),
            (
                500,
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                Retry,
            ),
            (
                500,
                "Get \"https://nowhere/v2/\": dial tcp: lookup nowhere: no such host",
                Retry,
            ),
            (
                500,
                "Head \"http://127.0.0.1:1/v2/x/manifests/1\": no basic auth credentials",
                Permanent,
            ),
            (500, "unauthorized: authentication required", Permanent),
            (
                500,
                "received unexpected HTTP status: 503 Service Unavailable",
                Retry,
            ),
            (
                500,
                "write /var/lib/docker/tmp/x: no space left on device",
                Retry,
            ),
        ];
        for (status, message, want) in cases {
            assert_eq!(pull_class(&refused(status, message)), want, "{message}");
        }
    }

    #[test]
    fn what_a_failed_start_means() {
        use ErrorClass::{Gone, Permanent, Retry};
        let cases = [
            (
                400,
                "OCI runtime create failed: exec: \"/no\": stat /no: no such file or directory",
                Permanent,
            ),
            (
                500,
                "OCI runtime create failed: exec: \"no\": executable file not found in $PATH",
                Permanent,
            ),
            (
                500,
                "driver failed programming external connectivity: port is already allocated",
                Retry,
            ),
            (404, "No such container: x", Gone),
            (409, "removal of container x is already in progress", Retry),
        ];
        for (status, message, want) in cases {
            assert_eq!(class(&refused(status, message)), want, "{message}");
        }
    }
}
