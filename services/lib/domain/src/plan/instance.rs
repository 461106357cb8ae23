//! The plan of a worker for one instance: from its order and what its runtime shows to the next step.

use std::time::Duration;

use crate::{
    backoff, lifecycle::Phase, node::Entry, records::Desired, spec::RestartPolicy, time::Time,
};

/// What the runtime shows of an instance. Unknown is not absent: it asks for another look, never for a start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The runtime could not be asked.
    Unknown,
    /// The runtime has nothing of it.
    Absent,
    /// It exists and was not started.
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It ended.
    Exited(Exit),
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// Its exit code; 128 and more for a signal, as a shell tells it.
    pub code: i32,
    /// In words, such as "killed, out of memory".
    pub message: String,
    /// How long it ran, when that is known.
    pub ran: Option<Duration>,
}

/// The next step for an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing to do but to record what is seen.
    Observe,
    /// Ask the runtime again.
    Look,
    /// Nothing before that time.
    Wait(Time),
    /// Pull, create and start it.
    Start,
    /// Start again what ended, by policy.
    Rerun,
    /// Note that it ended and will be started again then.
    Schedule {
        /// Not before.
        at: Time,
        /// How it ended.
        exit: Exit,
        /// Failures in a row, this one included.
        failures: u32,
    },
    /// A user asked for a restart: stop it if it runs, start it again.
    Restart,
    /// Note that it ended for good.
    End {
        /// With success.
        well: bool,
        /// How.
        exit: Exit,
    },
    /// Stop and remove it.
    Stop,
    /// Nothing is left of it: note that it is stopped.
    Settle,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Its lease is over: stop it, and start it again when there is one.
    Yield,
    /// It has no lease: nothing is started.
    Await,
}

/// Plans one instance.
#[must_use]
pub fn plan(entry: &Entry, policy: RestartPolicy, seen: &Seen, now: Time) -> Step {
    let status = &entry.status;
    if *seen == Seen::Unknown {
        return Step::Look;
    }
    if status.rejection.is_some() {
        return Step::Observe;
    }
    match entry.order.desired {
        Desired::Stop => match seen {
            Seen::Absent if status.phase == Phase::Stopped => Step::Observe,
            Seen::Absent => Step::Settle,
            Seen::Unknown | Seen::Created | Seen::Running | Seen::Paused | Seen::Exited(_) => {
                Step::Stop
            }
        },
        Desired::Run | Desired::Pause | Desired::Hold => run(entry, policy, seen, now),
    }
}

fn run(entry: &Entry, policy: RestartPolicy, seen: &Seen, now: Time) -> Step {
    let (order, status) = (&entry.order, &entry.status);
    let asked = order.restart_count > status.restarted && status.touched;
    if asked {
        return Step::Restart;
    }
    if matches!(status.phase, Phase::Completed | Phase::Failed) {
        return Step::Observe;
    }
    // What is further away than the longest backoff was noted before the wall clock was set back: it is over.
    let waits = |at: &Time| now < *at && *at <= now + backoff::LONGEST;
    if let Some(at) = status.not_before.filter(waits)
        && !matches!(seen, Seen::Running | Seen::Paused)
    {
        return Step::Wait(at);
    }
    match seen {
        Seen::Running if order.desired == Desired::Pause => Step::Pause,
        Seen::Paused if order.desired == Desired::Run => Step::Resume,
        Seen::Unknown | Seen::Running | Seen::Paused => Step::Observe,
        Seen::Created => Step::Start,
        Seen::Absent if status.running_since.is_some() => {
            let exit = Exit {
                code: 137,
                message: "it vanished from its runtime".to_owned(),
                ran: None,
            };
            ended(entry, policy, exit, now)
        }
        Seen::Absent => Step::Start,
        Seen::Exited(_) if status.not_before.is_some() => Step::Rerun,
        Seen::Exited(exit) => ended(entry, policy, exit.clone(), now),
    }
}

fn ended(entry: &Entry, policy: RestartPolicy, exit: Exit, now: Time) -> Step {
    let again = match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit.code != 0,
        RestartPolicy::Never => false,
    };
    if !again {
        return Step::End {
            well: exit.code == 0,
            exit,
        };
    }
    let healthy = exit.ran.is_some_and(|ran| ran >= backoff::HEALTHY);
    let failures = if healthy {
        1
    } else {
        entry.status.failures.saturating_add(1)
    };
    Step::Schedule {
        at: now + backoff::wait(failures),
        exit,
        failures,
    }
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
