//! Exclusive instances: what a lease that is missing does to the next step.
//!
//! Law: without a lease nothing of an exclusive instance is started, and what runs is stopped. It is no end of the job: it
//! is not buried, no restart is counted, and it starts again when a lease is there. Times are CLOCK_BOOTTIME, so a machine
//! that slept finds its leases over. Deliberately absent: who renews leases and when, which is the link's.

use super::instance::{Seen, Step};
use crate::{
    plant::{self, Plant},
    records::Desired,
    spec::Mode,
    time::Time,
};

/// Whether an instance may run as far as leases go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lease {
    /// It needs none.
    Free,
    /// It has one, until then.
    Held {
        /// From then on it may not run, on CLOCK_BOOTTIME.
        until: Time,
    },
    /// It needs one and has none.
    Missing,
}

impl Lease {
    /// The lease of an instance of that mode, where leases were renewed last at that time.
    #[must_use]
    pub fn judge(mode: Mode, renewed: Option<Time>, now: Time) -> Self {
        let Mode::Exclusive { stop_after } = mode else {
            return Self::Free;
        };
        // A renewal in the future is of another clock.
        let same_clock = |at: &Time| *at <= now || plant::on(Plant::LeaseByWallClock);
        match renewed.filter(same_clock).map(|at| at + stop_after) {
            Some(until) if now < until => Self::Held { until },
            Some(_) | None => Self::Missing,
        }
    }

    /// The step that is taken in place of the planned one.
    #[must_use]
    pub fn govern(self, desired: Desired, seen: &Seen, step: Step) -> Step {
        if self != Lease::Missing || desired == Desired::Stop {
            return step;
        }
        match (seen, step) {
            // What it would take to look is what it takes to stop: an answer of the runtime.
            (Seen::Unknown, step) => step,
            (Seen::Running | Seen::Paused, _) => Step::Yield,
            (
                Seen::Absent | Seen::Created | Seen::Exited(_),
                Step::Start | Step::Rerun | Step::Restart | Step::Pause | Step::Resume,
            ) => Step::Await,
            (Seen::Absent | Seen::Created | Seen::Exited(_), step) => step,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::instance::Exit;

    const EXCLUSIVE: Mode = Mode::Exclusive {
        stop_after: Duration::from_secs(60),
    };

    fn exited() -> Seen {
        Seen::Exited(Exit {
            code: 1,
            message: String::new(),
            ran: None,
        })
    }

    #[test]
    fn a_lease_holds_for_stop_after_from_its_renewal() {
        let at = |secs: i64| Time(secs * 1000);
        let table = [
            (None, at(10), Lease::Missing),
            (Some(at(10)), at(10), Lease::Held { until: at(70) }),
            (Some(at(10)), Time(69_999), Lease::Held { until: at(70) }),
            (Some(at(10)), at(70), Lease::Missing),
            (Some(at(10)), at(1_000_000), Lease::Missing),
            (Some(at(10)), at(9), Lease::Missing),
        ];
        for (renewed, now, expected) in table {
            assert_eq!(
                Lease::judge(EXCLUSIVE, renewed, now),
                expected,
                "{renewed:?} {now:?}"
            );
            assert_eq!(Lease::judge(Mode::Available, renewed, now), Lease::Free);
        }
    }

    #[test]
    fn without_a_lease_nothing_starts_and_what_runs_yields() {
        let exit = || Exit {
            code: 1,
            message: String::new(),
            ran: None,
        };
        let schedule = || Step::Schedule {
            at: Time(1),
            exit: exit(),
            failures: 1,
        };
        let table = [
            (Seen::Running, Step::Observe, Step::Yield),
            (Seen::Running, Step::Restart, Step::Yield),
            (Seen::Running, Step::Pause, Step::Yield),
            (Seen::Paused, Step::Observe, Step::Yield),
            (Seen::Paused, Step::Resume, Step::Yield),
            (Seen::Absent, Step::Start, Step::Await),
            (Seen::Absent, Step::Restart, Step::Await),
            (Seen::Absent, schedule(), schedule()),
            (Seen::Created, Step::Start, Step::Await),
            (exited(), Step::Rerun, Step::Await),
            (exited(), Step::Observe, Step::Observe),
            (exited(), schedule(), schedule()),
            (Seen::Unknown, Step::Look, Step::Look),
        ];
        for (seen, planned, expected) in table {
            let governed = |lease: Lease, desired| lease.govern(desired, &seen, planned.clone());
            assert_eq!(
                governed(Lease::Missing, Desired::Run),
                expected,
                "{seen:?} {planned:?}"
            );
            for lease in [Lease::Free, Lease::Held { until: Time(1) }] {
                assert_eq!(governed(lease, Desired::Run), planned);
            }
        }
    }

    #[test]
    fn a_stop_is_a_stop_with_and_without_a_lease() {
        for (seen, step) in [
            (Seen::Running, Step::Stop),
            (exited(), Step::Stop),
            (Seen::Absent, Step::Settle),
        ] {
            let governed = Lease::Missing.govern(Desired::Stop, &seen, step.clone());
            assert_eq!(governed, step);
        }
    }
}
