//! Why a request of a person is refused, each with a stable reason and what to do about it.

use std::time::Duration;

use edgeio_domain::violation::{Violation, Violations};
use edgeio_server::{
    auth::Role,
    status::{Classify, FieldViolation, Kind},
};
use edgeio_store::StoreError;

/// Most bytes of field violations in an answer. They travel in a trailer, and clients take 8 KiB of those.
const FIELD_BYTES: usize = 4000;
/// Most names in a sentence.
const NAMES: usize = 10;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The request is wrong whatever the state is.
    #[error("the request is not valid: {}", summary(.0))]
    Invalid(Vec<Violation>),
    /// What it names is not there.
    #[error("no {what} `{name}` is known here: {}", remedy(.what))]
    NotFound {
        /// application, service, namespace, cluster or worker.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Another tier owns the application.
    #[error("application `{name}` is owned by {owner}: change it there{remedy}")]
    OwnedElsewhere {
        /// Its name.
        name: String,
        /// `root`, or `cluster NAME`; several are joined.
        owner: String,
        /// Where that is, with what leads there; empty where it is not known.
        remedy: String,
    },
    /// Several clusters own one of this name.
    #[error("application `{name}` is owned by {owner}: ask for it there{remedy}, or list all")]
    Ambiguous {
        /// Its name.
        name: String,
        /// The owners.
        owner: String,
        /// See [`AppError::OwnedElsewhere`].
        remedy: String,
    },
    /// It cannot be made again without its spec.
    #[error(
        "the spec of {service} of application `{name}` is not known here: its child was asked for it, so try again in a moment; \
         or apply the application"
    )]
    SpecUnknown {
        /// The application.
        name: String,
        /// The service.
        service: String,
    },
    /// It is on its way out.
    #[error("application `{name}` is being deleted; wait for: {}", list(.waiting_for))]
    Deleting {
        /// Its name.
        name: String,
        /// Children that have not acknowledged yet.
        waiting_for: Vec<String>,
    },
    /// It changed since the caller read it.
    #[error("expected_version is {expected}, but it is {current} now: get it again, then retry")]
    VersionMismatch {
        /// What the caller expects.
        expected: u64,
        /// What it is; 0 if there is none.
        current: u64,
    },
    /// The id of another request.
    #[error("request_id was used for another request: use a new one for each request")]
    RequestIdReused,
    /// The answer that is kept for a request cannot be read.
    #[error("read the answer that is kept for a request")]
    StoredAnswer(#[source] prost::DecodeError),
    /// A child that still reports.
    #[error("{noun} `{name}` still reports: stop it first, or forget it by force")]
    ChildReports {
        /// cluster or worker.
        noun: &'static str,
        /// Its name.
        name: String,
    },
    /// A child that asks for no other name.
    #[error("{noun} `{name}` has the name that it asked for, so there is nothing to approve")]
    NothingWished {
        /// cluster or worker.
        noun: &'static str,
        /// Its name.
        name: String,
    },
    /// A child that is not silent.
    #[error("{noun} `{name}` {why}")]
    NotSilent {
        /// cluster or worker.
        noun: &'static str,
        /// Its name.
        name: String,
        /// What it is instead, and what can be done.
        why: &'static str,
    },
    /// The caller's role is too low.
    #[error("this needs the role {needed}, the caller has {}", has.map_or_else(|| "none".to_owned(), |has| has.to_string()))]
    Role {
        /// The least role.
        needed: Role,
        /// The caller's, there.
        has: Option<Role>,
    },
    /// It would ask for more than its namespace may.
    #[error("namespace `{namespace}` is over its quota: {}; scale down, or have an operator raise it with `edgeio namespace quota`", over_quota(.over))]
    OverQuota {
        /// The namespace.
        namespace: String,
        /// What is over.
        over: Vec<Over>,
    },
    /// Something is still in it.
    #[error(
        "namespace `{namespace}` has {applications} applications and {instances} instances: delete them first"
    )]
    NotEmpty {
        /// The namespace.
        namespace: String,
        /// How many applications.
        applications: usize,
        /// How many instances.
        instances: usize,
    },
    /// Nobody could do everything any more.
    #[error("`{0}` is the last user that may do everything: bind another one to `admin` first")]
    LastAdmin(String),
    /// No random numbers can be had.
    #[error("make a secret: {0}")]
    NoRandom(String),
    /// The place in the stream is of another database, or not known to it.
    #[error("the token's place is not in this database any more: begin again without a token")]
    PlaceLost,
    /// The store is closed, which ends a watch.
    #[error("the store of this server is closed: resume from the last token at another one")]
    Closed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppError {
    /// One field that is wrong.
    #[must_use]
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        let mut faults = Violations::default();
        faults.add(path, message);
        Self::Invalid(faults.into_vec())
    }

    /// Something that is not there; an over-long name is shortened.
    #[must_use]
    pub fn not_found(what: &'static str, name: &str) -> Self {
        Self::NotFound {
            what,
            name: name.chars().take(80).collect(),
        }
    }
}

impl Classify for AppError {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::InvalidInput,
            Self::NotFound { .. } => Kind::NotFound,
            Self::OwnedElsewhere { .. }
            | Self::Ambiguous { .. }
            | Self::SpecUnknown { .. }
            | Self::Deleting { .. }
            | Self::NotSilent { .. }
            | Self::NothingWished { .. }
            | Self::ChildReports { .. } => Kind::FailedPrecondition,
            Self::NotEmpty { .. } | Self::LastAdmin(_) => Kind::FailedPrecondition,
            Self::OverQuota { .. } => Kind::Exhausted,
            Self::NoRandom(_) => Kind::Internal,
            Self::VersionMismatch { .. } => Kind::Conflict,
            Self::RequestIdReused => Kind::AlreadyExists,
            Self::StoredAnswer(_) => Kind::Internal,
            Self::Role { .. } => Kind::Forbidden,
            Self::PlaceLost => Kind::OutOfRange,
            Self::Closed => Kind::Unavailable,
            Self::Store(error) => match error {
                // A handler writes by no lease; should it ever, the caller may ask the next replica.
                StoreError::Unavailable { .. } | StoreError::Fenced { .. } => Kind::Unavailable,
                StoreError::Spent { .. } => Kind::Forbidden,
                StoreError::Full { .. } => Kind::Exhausted,
                StoreError::Exists { .. } => Kind::AlreadyExists,
                StoreError::Compacted { .. } => Kind::OutOfRange,
                StoreError::Corrupt { .. }
                | StoreError::Locked { .. }
                | StoreError::Open { .. } => Kind::Internal,
            },
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_FIELDS",
            Self::NotFound { what, .. } => match *what {
                "application" => "APPLICATION_NOT_FOUND",
                "service" => "SERVICE_NOT_FOUND",
                "namespace" => "NAMESPACE_NOT_FOUND",
                "cluster" => "CLUSTER_NOT_FOUND",
                "worker" => "WORKER_NOT_FOUND",
                _ => "NOT_FOUND",
            },
            Self::OwnedElsewhere { .. } => "OWNED_ELSEWHERE",
            Self::Ambiguous { .. } => "SEVERAL_OWNERS",
            Self::SpecUnknown { .. } => "SPEC_UNKNOWN",
            Self::Deleting { .. } => "DELETING",
            Self::NotEmpty { .. } => "NAMESPACE_NOT_EMPTY",
            Self::LastAdmin(_) => "LAST_ADMIN",
            Self::OverQuota { .. } => "QUOTA_EXCEEDED",
            Self::NoRandom(_) => "NO_RANDOM",
            Self::VersionMismatch { .. } => "VERSION_MISMATCH",
            Self::RequestIdReused => "REQUEST_ID_REUSED",
            Self::StoredAnswer(_) => "STORED_ANSWER",
            Self::ChildReports { .. } => "CHILD_REPORTS",
            Self::NothingWished { .. } => "NOTHING_TO_APPROVE",
            Self::NotSilent { .. } => "NOT_SILENT",
            Self::Role { .. } => "ROLE_TOO_LOW",
            Self::PlaceLost => "REVISION_COMPACTED",
            Self::Closed => "STORE_CLOSED",
            Self::Store(error) => match error {
                StoreError::Unavailable { .. } => "STORE_UNAVAILABLE",
                StoreError::Fenced { .. } => "NOT_LEADER",
                StoreError::Spent { .. } => "JOIN_TOKEN_USED_UP",
                StoreError::Full { .. } => "STORE_FULL",
                StoreError::Exists { .. } => "NAME_TAKEN",
                StoreError::Compacted { .. } => "REVISION_COMPACTED",
                StoreError::Corrupt { .. } => "STORE_CORRUPT",
                StoreError::Locked { .. } | StoreError::Open { .. } => "STORE_NOT_OPEN",
            },
        }
    }

    fn fields(&self) -> Vec<FieldViolation> {
        let Self::Invalid(faults) = self else {
            return Vec::new();
        };
        let mut told = Vec::new();
        let mut bytes = 0;
        for fault in faults {
            bytes += fault.path.len() + fault.message.len() + 8;
            if bytes > FIELD_BYTES {
                told.push(FieldViolation {
                    path: String::new(),
                    message: format!("and {} more fields", faults.len() - told.len()),
                });
                break;
            }
            told.push(FieldViolation {
                path: fault.path.clone(),
                message: fault.message.clone(),
            });
        }
        told
    }

    fn retry_after(&self) -> Option<Duration> {
        // About what a busy or restarting database takes.
        (self.kind() == Kind::Unavailable).then_some(Duration::from_secs(1))
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::VersionMismatch { expected, current } => vec![
                ("expected_version", expected.to_string()),
                ("current_version", current.to_string()),
            ],
            Self::OverQuota { over, .. } => over.first().map_or_else(Vec::new, |first| {
                vec![
                    ("field", first.field.to_owned()),
                    ("used", first.used.clone()),
                    ("asked", first.asked.clone()),
                    ("limit", first.limit.clone()),
                ]
            }),
            Self::OwnedElsewhere { owner, .. } | Self::Ambiguous { owner, .. } => {
                vec![("owner", owner.clone())]
            }
            Self::Deleting { waiting_for, .. } => vec![("waiting_for", list(waiting_for))],
            Self::Store(StoreError::Compacted { oldest, .. }) => {
                vec![("oldest_revision", oldest.to_string())]
            }
            Self::Invalid(_)
            | Self::NotFound { .. }
            | Self::SpecUnknown { .. }
            | Self::NotEmpty { .. }
            | Self::LastAdmin(_)
            | Self::NoRandom(_)
            | Self::RequestIdReused
            | Self::StoredAnswer(_)
            | Self::ChildReports { .. }
            | Self::NothingWished { .. }
            | Self::NotSilent { .. }
            | Self::Role { .. }
            | Self::PlaceLost
            | Self::Closed
            | Self::Store(_) => Vec::new(),
        }
    }
}

fn summary(faults: &[Violation]) -> String {
    let first = faults.first().map_or_else(String::new, ToString::to_string);
    let first: String = first.chars().take(300).collect();
    match faults.len() {
        0 | 1 => first,
        more => format!("{first} (and {} more)", more - 1),
    }
}

/// One limit of a quota that would be passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Over {
    /// `cpu`, `memory`, `instances` or `applications`.
    pub field: &'static str,
    /// What is used without this.
    pub used: String,
    /// What would be used with it.
    pub asked: String,
    /// The most.
    pub limit: String,
}

fn over_quota(over: &[Over]) -> String {
    let of = |one: &Over| {
        format!(
            "{} would be {} of {}, {} is used",
            one.field, one.asked, one.limit, one.used
        )
    };
    over.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn remedy(what: &str) -> &'static str {
    match what {
        "namespace" => {
            "list those that you may use, or have an operator make it with `edgeio namespace create`"
        }
        "application" => "check its namespace, or list what there is",
        _ => "list what there is",
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "its last records".to_owned();
    }
    let mut text = names[..names.len().min(NAMES)].join(", ");
    if names.len() > NAMES {
        text.push_str(&format!(" and {} more", names.len() - NAMES));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_violations_fit_into_a_trailer_and_say_how_many_are_missing() {
        let fault = |n: usize| Violation {
            path: format!("application.services[{n}].name"),
            message: "x".repeat(200),
        };
        let error = AppError::Invalid((0..100).map(fault).collect());
        let fields = error.fields();
        let bytes: usize = fields.iter().map(|f| f.path.len() + f.message.len()).sum();
        assert!(bytes < FIELD_BYTES + 100);
        let told = fields.len() - 1;
        assert_eq!(
            fields.last().unwrap().message,
            format!("and {} more fields", 100 - told)
        );
        assert!(error.to_string().ends_with("(and 99 more)"));
    }

    #[test]
    fn a_failing_store_is_told_by_kind_and_its_own_faults_stay_inside() {
        let source = || Box::new(std::io::Error::other("secret")) as _;
        let attempt = "commit";
        let table = [
            (
                StoreError::Unavailable {
                    attempt,
                    source: source(),
                },
                Kind::Unavailable,
            ),
            (
                StoreError::Full {
                    attempt,
                    source: source(),
                },
                Kind::Exhausted,
            ),
            (
                StoreError::Compacted {
                    since: 1,
                    oldest: 2,
                },
                Kind::OutOfRange,
            ),
            (
                StoreError::Exists { what: "web".into() },
                Kind::AlreadyExists,
            ),
            (
                StoreError::Corrupt {
                    table: "slot",
                    what: "x".into(),
                },
                Kind::Internal,
            ),
        ];
        for (error, kind) in table {
            let error = AppError::from(error);
            assert_eq!(error.kind(), kind);
            assert_eq!(error.retry_after().is_some(), kind == Kind::Unavailable);
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn long_lists_of_names_are_cut() {
        let names: Vec<String> = (0..12).map(|n| format!("w{n}")).collect();
        assert!(list(&names).ends_with("w9 and 2 more"));
    }
}
