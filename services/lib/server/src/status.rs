//! The one map from what went wrong to what the caller is told.
//!
//! An error says its [`Kind`], a stable reason and, where they help, field paths and a pause. From
//! that come the gRPC code and `google.rpc` details. Invariants: the text of an internal error
//! never leaves the process (it is logged here, once, with its chain of sources); a reason never
//! changes its meaning, since programs match on it.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation as Violation, StatusExt as _};

/// The domain of our reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "edgeio";

/// The reason for which streams of an old connection end. Its client begins them again at once (see `edgeio-client`).
const CONNECTION_OLD: &str = "CONNECTION_OLD";

/// What went wrong, in the caller's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request itself is wrong, whatever the state is.
    InvalidInput,
    /// No such object, or none that this caller may know of.
    NotFound,
    /// An object of that key exists, or a request id was used for another request.
    AlreadyExists,
    /// The object changed since the version that the caller read: read again, then retry.
    Conflict,
    /// The state does not allow it, and a retry will not help until someone changes the state.
    FailedPrecondition,
    /// The caller acts on an outdated epoch, session or generation.
    Stale,
    /// A position before the beginning or past the end, such as a compacted revision.
    OutOfRange,
    /// A quota or a rate is used up.
    Exhausted,
    /// A part that is needed is away for now: the same request may work later.
    Unavailable,
    /// The caller is known and may not.
    Forbidden,
    /// The caller is not known.
    Unauthenticated,
    /// Our fault.
    Internal,
}

impl Kind {
    /// The gRPC code of this kind.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::InvalidInput => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::Conflict => Code::Aborted,
            Self::FailedPrecondition | Self::Stale => Code::FailedPrecondition,
            Self::OutOfRange => Code::OutOfRange,
            Self::Exhausted => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::Forbidden => Code::PermissionDenied,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Internal => Code::Internal,
        }
    }
}

/// One field of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path in the message as the caller wrote it, such as `services[0].cpu`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// An error that can be answered to a caller. Its `Display` is what the caller reads (unless the
/// kind is internal), so it names the attempt and holds no text of another layer.
pub trait Classify: Error {
    /// What went wrong.
    fn kind(&self) -> Kind;
    /// A stable name in capitals, such as `NAME_TAKEN`.
    fn reason(&self) -> &'static str;
    /// The fields that are wrong, all of them.
    fn fields(&self) -> Vec<FieldViolation> {
        Vec::new()
    }
    /// When a retry is worth while.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
    /// Values for programs, such as `current_version`.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// The status of an error. Logs it if it is internal.
#[must_use]
pub fn status<E: Classify>(error: &E) -> Status {
    let kind = error.kind();
    let message = if kind == Kind::Internal {
        tracing::error!(error = %chain(error), reason = error.reason(), "request failed inside");
        "internal error: the server's log tells more under the request id".to_owned()
    } else {
        if error.source().is_some() {
            // The caller gets the first sentence only; the rest is for whoever reads the log.
            tracing::info!(error = %chain(error), reason = error.reason(), "request refused");
        }
        error.to_string()
    };
    build(kind, message, error)
}

fn build<E: Classify>(kind: Kind, message: String, error: &E) -> Status {
    let mut details = ErrorDetails::new();
    let metadata: Vec<(String, String)> = if kind == Kind::Internal {
        Vec::new()
    } else {
        error
            .metadata()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    };
    details.set_error_info(
        error.reason(),
        DOMAIN,
        metadata
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>(),
    );
    let fields = error.fields();
    if !fields.is_empty() && kind != Kind::Internal {
        let violations: Vec<Violation> = fields
            .into_iter()
            .map(|field| Violation::new(field.path, field.message))
            .collect();
        details.set_bad_request(violations);
    }
    if let Some(pause) = error.retry_after() {
        details.set_retry_info(Some(pause));
    }
    Status::with_error_details(kind.code(), message, details)
}

/// The chassis' own refusals: the errors that no domain has.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The process is stopping.
    #[error("this server is stopping; try again, another one may answer")]
    Stopping,
    /// A handler panicked, with this text. The panic hook has printed the place.
    #[error("a handler panicked: {0}")]
    Panicked(String),
    /// The request's bytes are no request.
    #[error("this request cannot be read: {0}")]
    Unreadable(String),
    /// A handler runs without the layer that authenticates.
    #[error("no principal in the request")]
    NoPrincipal,
    /// The caller calls more often than it may.
    #[error("too many such calls: try again in {} ms", .0.as_millis())]
    TooMany(Duration),
    /// The call's connection is old.
    #[error("this connection is old: call again on a new one")]
    ConnectionOld,
}

impl Classify for Refusal {
    fn kind(&self) -> Kind {
        match self {
            Self::Stopping | Self::ConnectionOld => Kind::Unavailable,
            Self::Unreadable(_) => Kind::InvalidInput,
            Self::TooMany(_) => Kind::Exhausted,
            Self::Panicked(_) | Self::NoPrincipal => Kind::Internal,
        }
    }
    fn reason(&self) -> &'static str {
        match self {
            Self::Stopping => "SERVER_STOPPING",
            Self::Panicked(_) => "PANIC",
            Self::Unreadable(_) => "REQUEST_UNREADABLE",
            Self::NoPrincipal => "NO_PRINCIPAL",
            Self::TooMany(_) => "RATE_LIMITED",
            Self::ConnectionOld => CONNECTION_OLD,
        }
    }
    fn retry_after(&self) -> Option<Duration> {
        match self {
            // About what a restart of one process takes.
            Self::Stopping => Some(Duration::from_secs(1)),
            Self::ConnectionOld => Some(Duration::ZERO),
            Self::TooMany(pause) => Some(*pause),
            Self::Unreadable(_) | Self::Panicked(_) | Self::NoPrincipal => None,
        }
    }
}

/// The status that ends a stream when its connection is old.
pub(crate) fn connection_old() -> Status {
    status(&Refusal::ConnectionOld)
}

/// The status that ends a stream when the server stops.
#[must_use]
pub fn stopping() -> Status {
    status(&Refusal::Stopping)
}

/// An error and its sources in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Capture;

    const KINDS: [(Kind, Code); 12] = [
        (Kind::InvalidInput, Code::InvalidArgument),
        (Kind::NotFound, Code::NotFound),
        (Kind::AlreadyExists, Code::AlreadyExists),
        (Kind::Conflict, Code::Aborted),
        (Kind::FailedPrecondition, Code::FailedPrecondition),
        (Kind::Stale, Code::FailedPrecondition),
        (Kind::OutOfRange, Code::OutOfRange),
        (Kind::Exhausted, Code::ResourceExhausted),
        (Kind::Unavailable, Code::Unavailable),
        (Kind::Forbidden, Code::PermissionDenied),
        (Kind::Unauthenticated, Code::Unauthenticated),
        (Kind::Internal, Code::Internal),
    ];

    #[derive(Debug, thiserror::Error)]
    #[error("store the application `shop`")]
    struct Sample {
        kind: Kind,
        #[source]
        source: std::io::Error,
    }

    impl Sample {
        fn new(kind: Kind) -> Self {
            Self {
                kind,
                source: std::io::Error::other("SELECT * FROM secrets"),
            }
        }
    }

    impl Classify for Sample {
        fn kind(&self) -> Kind {
            self.kind
        }
        fn reason(&self) -> &'static str {
            "SAMPLE_REASON"
        }
        fn fields(&self) -> Vec<FieldViolation> {
            vec![FieldViolation {
                path: "services[0].cpu".into(),
                message: "write `500m`".into(),
            }]
        }
        fn retry_after(&self) -> Option<Duration> {
            Some(Duration::from_millis(1500))
        }
        fn metadata(&self) -> Vec<(&'static str, String)> {
            vec![("current_version", "7".to_owned())]
        }
    }

    /// What a caller sees after the wire: headers out and in again.
    fn over_the_wire(status: &Status) -> Status {
        let mut headers = http::HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn every_kind_survives_the_wire_with_its_details() {
        for (kind, code) in KINDS {
            let capture = Capture::start();
            let there = over_the_wire(&status(&Sample::new(kind)));
            assert_eq!(there.code(), code, "{kind:?}");
            let details = there.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(
                (info.reason.as_str(), info.domain.as_str()),
                ("SAMPLE_REASON", "edgeio")
            );
            let pause = details.retry_info().unwrap().retry_delay;
            assert_eq!(pause, Some(Duration::from_millis(1500)));
            if kind == Kind::Internal {
                assert!(details.bad_request().is_none() && info.metadata.is_empty());
                drop(capture);
                continue;
            }
            assert_eq!(there.message(), "store the application `shop`");
            assert_eq!(info.metadata["current_version"], "7");
            let fields = &details.bad_request().unwrap().field_violations;
            assert_eq!(fields[0].field, "services[0].cpu");
            assert_eq!(fields[0].description, "write `500m`");
            capture.finish().unwrap();
        }
    }

    #[test]
    fn internal_text_is_logged_once_and_never_sent() {
        let capture = Capture::start().expect("request failed inside");
        let there = over_the_wire(&status(&Sample::new(Kind::Internal)));
        assert!(!there.message().contains("shop") && !there.message().contains("SELECT"));
        assert!(!String::from_utf8_lossy(there.details()).contains("SELECT"));
        let seen = capture.seen();
        assert_eq!(seen.len(), 1);
        assert!(
            seen[0]
                .fields
                .contains("store the application `shop`: SELECT * FROM secrets")
        );
        capture.finish().unwrap();
    }
}
