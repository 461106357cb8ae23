//! Failures of the trait as gRPC's, both ways. The code says what a failure means for the next attempt, so that a driver needs nothing
//! else; the reason of an `ErrorInfo` says what it is about, so that users read the same words as of a built-in runtime.

use std::collections::HashMap;

use edgeio_proto::runtime::v1::FailureReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::wire::{Garbled, feature_named};
use crate::runtime::{BoxError, ErrorClass, InstanceId, RuntimeError, RuntimeKind};

/// Whose reasons these are.
const DOMAIN: &str = "runtime.edgeio";
/// What precedes each reason in the contract.
const PREFIX: &str = "FAILURE_REASON_";

/// The parts of a job that a failure may name. One that is not here is named in the sentence.
const FIELDS: [&str; 10] = [
    "args",
    "command",
    "cpu",
    "env",
    "image",
    "limits",
    "memory",
    "ports",
    "pull",
    "working_dir",
];

/// What a driver says about why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

/// What was attempted, as far as a failure names it.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    /// A verb on the engine as a whole.
    Engine(&'static str),
    /// A verb on one instance.
    Instance(&'static str, InstanceId),
    /// A verb that may fetch this image.
    Job(&'static str, InstanceId, Option<&'a str>),
}

fn status(code: Code, reason: FailureReason, message: String, about: &[(&str, &str)]) -> Status {
    if reason == FailureReason::Unspecified {
        return Status::new(code, message);
    }
    let word = reason.as_str_name();
    let metadata: HashMap<String, String> = about
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let word = word.strip_prefix(PREFIX).unwrap_or(word);
    let details = ErrorDetails::with_error_info(word, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

fn code_of(class: ErrorClass) -> Code {
    match class {
        ErrorClass::Retry => Code::Aborted,
        ErrorClass::Permanent => Code::FailedPrecondition,
        ErrorClass::Gone => Code::NotFound,
    }
}

fn chain(error: &BoxError) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

/// A failure as a driver tells it.
pub(super) fn write(error: &RuntimeError) -> Status {
    use FailureReason as Reason;
    match error {
        RuntimeError::Reach { source, .. } => status(
            Code::Unavailable,
            Reason::EngineUnreachable,
            chain(source),
            &[],
        ),
        RuntimeError::Pull {
            image,
            class,
            source,
        } => status(
            code_of(*class),
            Reason::Pull,
            chain(source),
            &[("image", image)],
        ),
        RuntimeError::ImageAbsent { image } => status(
            Code::FailedPrecondition,
            Reason::ImageAbsent,
            error.to_string(),
            &[("image", image)],
        ),
        RuntimeError::Invalid { field, why, .. } => status(
            Code::InvalidArgument,
            Reason::Invalid,
            why.clone(),
            &[("field", field)],
        ),
        RuntimeError::Unsupported { feature, why, .. } => status(
            Code::Unimplemented,
            Reason::Unsupported,
            why.clone(),
            &[("feature", feature.as_str())],
        ),
        RuntimeError::Forbidden { what, why } => status(
            Code::PermissionDenied,
            Reason::Forbidden,
            why.clone(),
            &[("what", what)],
        ),
        RuntimeError::Conflict { why, .. } => {
            status(Code::AlreadyExists, Reason::Conflict, why.clone(), &[])
        }
        RuntimeError::Gone { .. } => Status::not_found(error.to_string()),
        RuntimeError::Verb { class, source, .. } => Status::new(code_of(*class), chain(source)),
        RuntimeError::Engine { source, .. } => Status::aborted(chain(source)),
    }
}

/// A request that cannot be understood, as a driver refuses it.
pub(super) fn refuse(garbled: &Garbled) -> Status {
    Status::invalid_argument(garbled.to_string())
}

/// A caller of another time, as a driver refuses it.
pub(super) fn wrong_protocol(message: String) -> Status {
    status(
        Code::FailedPrecondition,
        FailureReason::Protocol,
        message,
        &[],
    )
}

/// Why a driver could not be spoken to, or could not be understood.
pub(super) fn reach(runtime: &RuntimeKind, at: &str, source: impl Into<BoxError>) -> RuntimeError {
    RuntimeError::Reach {
        runtime: runtime.clone(),
        at: at.to_owned(),
        source: source.into(),
    }
}

/// A failure that a driver told, as the trait has it.
pub(super) fn read(
    status: &Status,
    about: About<'_>,
    runtime: &RuntimeKind,
    at: &str,
) -> RuntimeError {
    let info = status.get_details_error_info();
    let info = info.filter(|info| info.domain == DOMAIN);
    let reason = info
        .as_ref()
        .and_then(|info| FailureReason::from_str_name(&format!("{PREFIX}{}", info.reason)));
    let said = |key: &str| {
        info.as_ref()
            .and_then(|info| info.metadata.get(key).cloned())
    };
    let why = told(status);
    let image = || match about {
        About::Job(_, _, Some(image)) => image.to_owned(),
        _ => said("image").unwrap_or_default(),
    };
    let instance = match about {
        About::Engine(_) => None,
        About::Instance(_, instance) | About::Job(_, instance, _) => Some(instance),
    };
    use FailureReason as Reason;
    match (reason.unwrap_or_default(), status.code(), instance) {
        (Reason::EngineUnreachable, ..)
        | (Reason::Protocol, ..)
        | (Reason::Unspecified, Code::Unavailable, _) => reach(runtime, at, Told(why)),
        (Reason::Pull, code, _) => RuntimeError::Pull {
            image: image(),
            class: class_of(code),
            source: Told(why).into(),
        },
        (Reason::ImageAbsent, ..) => RuntimeError::ImageAbsent { image: image() },
        (Reason::Invalid, ..) | (Reason::Unspecified, Code::InvalidArgument, Some(_)) => {
            invalid(runtime, said("field"), why)
        }
        (Reason::Unsupported, ..) => match said("feature").as_deref().and_then(feature_named) {
            Some(feature) => RuntimeError::Unsupported {
                runtime: runtime.clone(),
                feature,
                why,
            },
            None => invalid(runtime, said("feature"), why),
        },
        (Reason::Forbidden, ..) | (Reason::Unspecified, Code::PermissionDenied, Some(_)) => {
            RuntimeError::Forbidden {
                what: said("what").unwrap_or_else(|| "the job".to_owned()),
                why,
            }
        }
        (Reason::Conflict, _, Some(instance))
        | (Reason::Unspecified, Code::AlreadyExists, Some(instance)) => {
            RuntimeError::Conflict { instance, why }
        }
        (_, code, _) => plain(about, code, why, runtime),
    }
}

/// A failure about which no more is known than its code.
fn plain(about: About<'_>, code: Code, why: String, runtime: &RuntimeKind) -> RuntimeError {
    let class = class_of(code);
    match about {
        About::Instance(verb, instance) | About::Job(verb, instance, _) => match class {
            ErrorClass::Gone => RuntimeError::Gone { instance, verb },
            ErrorClass::Retry | ErrorClass::Permanent => RuntimeError::Verb {
                verb,
                instance,
                class,
                source: Told(why).into(),
            },
        },
        About::Engine(verb) => RuntimeError::Engine {
            verb,
            runtime: runtime.clone(),
            source: Told(why).into(),
        },
    }
}

fn invalid(runtime: &RuntimeKind, field: Option<String>, why: String) -> RuntimeError {
    let named = field.unwrap_or_default();
    let known = FIELDS.iter().find(|field| **field == named);
    RuntimeError::Invalid {
        runtime: runtime.clone(),
        field: known.copied().unwrap_or("the job"),
        why: match (known, named.as_str()) {
            (Some(_), _) | (None, "") => why,
            (None, named) => format!("{named}: {why}"),
        },
    }
}

fn class_of(code: Code) -> ErrorClass {
    match code {
        Code::NotFound => ErrorClass::Gone,
        Code::InvalidArgument
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => ErrorClass::Permanent,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => ErrorClass::Retry,
    }
}

/// The driver's sentence, or the code where it says nothing.
fn told(status: &Status) -> String {
    match status.message() {
        "" => format!("the driver says no more than `{}`", status.code()),
        said => said.to_owned(),
    }
}

/// What a driver answered, where it cannot be understood: it may be one of another time, that somebody will replace.
pub(super) fn misread(garbled: Garbled, verb: &'static str, runtime: &RuntimeKind) -> RuntimeError {
    RuntimeError::Engine {
        verb,
        runtime: runtime.clone(),
        source: garbled.into(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::runtime::Feature;

    const ID: InstanceId = InstanceId(Uuid::from_u128(7));
    const KIND: RuntimeKind = RuntimeKind::FAKE;

    fn over(error: &RuntimeError) -> RuntimeError {
        let status = write(error);
        read(&status, About::Job("start", ID, Some("web:1")), &KIND, "/s")
    }

    fn because(why: &str) -> BoxError {
        Told(why.to_owned()).into()
    }

    #[test]
    fn every_failure_reads_the_same_behind_the_socket() {
        let image = "web:1".to_owned();
        let why = "that is how it is".to_owned();
        let classes = [ErrorClass::Retry, ErrorClass::Permanent, ErrorClass::Gone];
        let mut all = vec![
            reach(&KIND, "/s", because("nobody there")),
            RuntimeError::ImageAbsent {
                image: image.clone(),
            },
            RuntimeError::Invalid {
                runtime: KIND,
                field: "ports",
                why: why.clone(),
            },
            RuntimeError::Unsupported {
                runtime: KIND,
                feature: Feature::Limits,
                why: why.clone(),
            },
            RuntimeError::Forbidden {
                what: "devices".to_owned(),
                why: why.clone(),
            },
            RuntimeError::Conflict { instance: ID, why },
            RuntimeError::Gone {
                instance: ID,
                verb: "start",
            },
        ];
        all.extend(classes.map(|class| RuntimeError::Pull {
            image: image.clone(),
            class,
            source: because("no route"),
        }));
        all.extend(
            [ErrorClass::Retry, ErrorClass::Permanent].map(|class| RuntimeError::Verb {
                verb: "start",
                instance: ID,
                class,
                source: because("no such file"),
            }),
        );
        for error in all {
            let read = over(&error);
            assert_eq!(read.class(), error.class(), "{error:?}");
            assert_eq!(read.chain(), error.chain(), "{error:?}");
        }
        let engine = RuntimeError::Engine {
            verb: "list instances",
            runtime: KIND,
            source: because("busy"),
        };
        let read = read(
            &write(&engine),
            About::Engine("list instances"),
            &KIND,
            "/s",
        );
        assert_eq!(read.chain(), engine.chain());
    }

    #[test]
    fn a_bare_code_is_enough() {
        let about = About::Instance("stop", ID);
        let class = |code| read(&Status::new(code, "so"), about, &KIND, "/s").class();
        assert_eq!(class(Code::NotFound), ErrorClass::Gone);
        for code in [
            Code::InvalidArgument,
            Code::AlreadyExists,
            Code::FailedPrecondition,
            Code::PermissionDenied,
            Code::Unimplemented,
        ] {
            assert_eq!(class(code), ErrorClass::Permanent, "{code:?}");
        }
        for code in [
            Code::Unavailable,
            Code::Aborted,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Unknown,
            Code::ResourceExhausted,
        ] {
            assert_eq!(class(code), ErrorClass::Retry, "{code:?}");
        }
        let silent = read(&Status::new(Code::Internal, ""), about, &KIND, "/s");
        assert!(
            silent.chain().contains("says no more"),
            "{}",
            silent.chain()
        );
    }

    #[test]
    fn words_of_others_are_not_taken_for_ours() {
        let metadata = HashMap::from([("field".to_owned(), "firmware".to_owned())]);
        let details = |reason, domain| {
            let details = ErrorDetails::with_error_info(reason, domain, metadata.clone());
            Status::with_error_details(Code::Internal, "no", details)
        };
        let about = About::Instance("start", ID);
        let theirs = read(&details("INVALID", "example.org"), about, &KIND, "/s");
        assert!(matches!(theirs, RuntimeError::Verb { .. }), "{theirs:?}");
        let newer = read(&details("SOMETHING_NEW", DOMAIN), about, &KIND, "/s");
        assert!(matches!(newer, RuntimeError::Verb { .. }), "{newer:?}");
        let ours = read(&details("INVALID", DOMAIN), about, &KIND, "/s");
        assert_eq!(ours.chain(), "fake refuses `the job`: firmware: no");
    }
}
