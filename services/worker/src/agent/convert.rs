//! From what runtimes answer to what the node understands.

use edgeio_domain::{
    ids::AssignmentId,
    plan::instance::{Exit, Seen},
};

use super::clock::time;
use crate::{
    node::{Fault, FaultClass, Sight},
    runtime::{self, ErrorClass, Observed, RuntimeError, State},
};

/// The code of a run whose end nobody saw. It is no success, so that `on-failure` starts the job again.
const UNSEEN: i32 = 255;

/// The instance that a runtime shows.
pub(super) fn id(observed: &Observed) -> AssignmentId {
    AssignmentId(observed.instance().0)
}

/// What a runtime shows.
pub(super) fn sight(observed: Observed) -> Sight {
    let mut sight = Sight {
        handle: observed.handle.0,
        image_digest: observed.image_digest.unwrap_or_default(),
        ..Sight::bare(Seen::Created)
    };
    match observed.state {
        State::Created => {}
        State::Running { started_at, .. } => {
            sight.seen = Seen::Running;
            sight.running_since = Some(time(started_at));
        }
        State::Paused { started_at, .. } => {
            sight.seen = Seen::Paused;
            sight.running_since = Some(time(started_at));
        }
        State::Exited(exit) => {
            sight.finished_at = Some(time(exit.finished_at));
            sight.seen = Seen::Exited(ended(&exit));
        }
    }
    sight
}

fn ended(exit: &runtime::Exit) -> Exit {
    let message = match (&exit.lost, exit.oom, exit.signal) {
        (Some(lost), ..) => lost.clone(),
        (None, true, _) => "killed, out of memory".to_owned(),
        (None, false, Some(signal)) => format!("killed by signal {signal}"),
        (None, false, None) => String::new(),
    };
    Exit {
        code: exit.shell_code().unwrap_or(UNSEEN),
        message,
        ran: None,
    }
}

/// What a failure means.
pub(super) fn fault(error: &RuntimeError) -> Fault {
    let (word, remedy) = match error {
        RuntimeError::Reach { .. } => ("RuntimeUnreachable", ""),
        RuntimeError::Pull { .. } => ("ImagePull", ""),
        RuntimeError::ImageAbsent { .. } => (
            "ImageAbsent",
            "; load the image on this worker, or let the pull policy be `if-absent`",
        ),
        RuntimeError::Invalid { .. } => ("Invalid", ""),
        RuntimeError::Unsupported { .. } => ("Unsupported", ""),
        RuntimeError::Forbidden { .. } => ("Forbidden", ""),
        RuntimeError::Conflict { .. } => ("Conflict", ""),
        RuntimeError::Gone { .. } => ("Gone", ""),
        RuntimeError::Verb { verb, .. } => (verb_word(verb), ""),
        RuntimeError::Engine { .. } => ("RuntimeError", ""),
    };
    let class = match (error, error.class()) {
        (
            RuntimeError::Invalid { .. }
            | RuntimeError::Unsupported { .. }
            | RuntimeError::Forbidden { .. },
            _,
        ) => FaultClass::Unsupported,
        (_, ErrorClass::Retry) => FaultClass::Retry,
        (_, ErrorClass::Permanent) => FaultClass::Permanent,
        (_, ErrorClass::Gone) => FaultClass::Gone,
    };
    Fault {
        class,
        reason: word.to_owned(),
        message: format!("{}{remedy}", error.chain()),
    }
}

fn verb_word(verb: &str) -> &'static str {
    match verb {
        "create" => "CreateFailed",
        "start" | "restart" => "StartFailed",
        "stop" | "remove" => "StopFailed",
        "pause" => "PauseFailed",
        "resume" => "ResumeFailed",
        _ => "RuntimeError",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use edgeio_domain::time::Time;
    use uuid::Uuid;

    use super::*;
    use crate::runtime::{Handle, InstanceId, Labels};

    fn exit(code: Option<i32>, signal: Option<i32>, oom: bool, lost: Option<&str>) -> Exit {
        ended(&runtime::Exit {
            code,
            signal,
            finished_at: UNIX_EPOCH,
            oom,
            lost: lost.map(str::to_owned),
        })
    }

    #[test]
    fn an_end_is_told_as_a_shell_tells_it() {
        assert_eq!(exit(Some(3), None, false, None).code, 3);
        assert_eq!(exit(None, Some(15), false, None).code, 143);
        let oom = exit(None, Some(9), true, None);
        assert_eq!(
            (oom.code, oom.message.as_str()),
            (137, "killed, out of memory")
        );
        let lost = exit(None, None, false, Some("the machine rebooted"));
        assert_ne!(lost.code, 0, "nobody knows that it succeeded");
        assert_eq!(lost.message, "the machine rebooted");
    }

    #[test]
    fn a_running_job_keeps_its_start() {
        let started_at = UNIX_EPOCH + Duration::from_millis(1234);
        let labels = Labels {
            cluster: Uuid::nil(),
            worker: Uuid::nil(),
            instance: InstanceId(Uuid::from_u128(5)),
            spec_hash: String::new(),
        };
        let observed = Observed {
            labels,
            handle: Handle("abc".into()),
            state: State::Running {
                started_at,
                pid: None,
            },
            image_digest: None,
        };
        assert_eq!(id(&observed), AssignmentId(Uuid::from_u128(5)));
        let sight = sight(observed);
        assert_eq!(
            (sight.seen, sight.running_since),
            (Seen::Running, Some(Time(1234)))
        );
    }

    #[test]
    fn faults_say_what_to_do() {
        let absent = RuntimeError::ImageAbsent {
            image: "a:1".into(),
        };
        let fault = fault(&absent);
        assert_eq!(
            (fault.class, fault.reason.as_str()),
            (FaultClass::Permanent, "ImageAbsent")
        );
        assert!(fault.message.contains("a:1") && fault.message.contains("if-absent"));
    }
}
