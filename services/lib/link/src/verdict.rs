//! What a parent makes of what a child says: of its point at Hello, and of each state against the order that is recorded.
//!
//! A parent's database may have been lost or restored to an older copy, so a child may know more than it does. Pure
//! decisions; recording them is the caller's.

use edgeio_domain::{
    child::Accepted,
    lifecycle::Phase,
    records::{Desired, Observed},
};
use edgeio_proto::link::v1;

use crate::convert;

/// Whether a child has accepted orders of this very database that the database does not know: it is an older copy.
#[must_use]
pub fn is_ahead(point: &Accepted, said: &Accepted) -> bool {
    let number = |a: &Accepted| (a.issuer_epoch, a.revision);
    said.lineage == point.lineage && number(said) > number(point)
}

/// The issuer epoch with which this database's orders count as newer than all that the child has accepted, if it has
/// accepted what this database does not know. Then a full report is awaited before anything is sent.
#[must_use]
pub fn adopt(point: &Accepted, said: &Accepted) -> Option<u64> {
    let unknown = said.lineage != point.lineage || is_ahead(point, said);
    unknown.then(|| point.issuer_epoch.max(said.issuer_epoch + 1))
}

/// The newest order for an assignment, as the parent has recorded it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Its generation.
    pub generation: u64,
    /// What it wants.
    pub desired: Desired,
    /// Restarts that users asked for.
    pub restart_count: u32,
}

/// What a reported state means for the recorded order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is stopped, as was ordered: nothing is left of it.
    Done,
    /// The child does not take it, and it is wanted.
    Refused,
    /// The child does not take what is being stopped anyway: the state is not worth recording.
    Moot,
    /// The state is to be recorded.
    Record,
    /// The state is to be recorded, and the order takes this generation: the child holds one that this database lost.
    Renew {
        /// The generation.
        generation: u64,
        /// The child holds something else than this order: it must be sent.
        resend: bool,
    },
}

/// Judges a reported state.
#[must_use]
pub fn judge(order: Recorded, report: &v1::InstanceReport, observed: &Observed) -> Verdict {
    let refused = report.rejection.is_some();
    if order.desired == Desired::Stop {
        let answers = observed.generation >= order.generation || refused;
        if observed.phase == Phase::Stopped && answers {
            return Verdict::Done;
        }
        if refused {
            return Verdict::Moot;
        }
    } else if refused && order.desired != Desired::Hold {
        // What nobody asks for is nobody's to place elsewhere, and is left alone.
        return Verdict::Refused;
    }
    if observed.generation < order.generation {
        return Verdict::Record;
    }
    // One generation is one order. If the child holds another one under it, or a newer one, this database has lost it.
    let newer = observed.generation > order.generation;
    let same = observed.restart_count == order.restart_count
        && convert::desired_from_wire(report.desired).map_or(!newer, |held| held == order.desired);
    let resend = !same && order.desired != Desired::Hold;
    match (resend, newer) {
        (false, false) => Verdict::Record,
        (false, true) => Verdict::Renew {
            generation: observed.generation,
            resend,
        },
        (true, _) => Verdict::Renew {
            generation: observed.generation + 1,
            resend,
        },
    }
}

#[cfg(test)]
mod tests {
    use edgeio_domain::ids::Lineage;
    use uuid::Uuid;

    use super::*;

    fn point(lineage: u128, issuer_epoch: u64, revision: u64) -> Accepted {
        Accepted {
            lineage: Lineage(Uuid::from_u128(lineage)),
            issuer_epoch,
            revision,
        }
    }

    #[test]
    fn what_a_child_knows_and_the_database_does_not_is_adopted_under_a_higher_epoch() {
        let own = point(1, 3, 10);
        for (said, ahead, epoch) in [
            (point(1, 3, 10), false, None),
            (point(1, 2, 99), false, None),
            (point(1, 3, 11), true, Some(4)),
            (point(1, 4, 1), true, Some(5)),
            (point(2, 1, 1), false, Some(3)),
            (point(2, 3, 1), false, Some(4)),
            (point(2, 9, 1), false, Some(10)),
        ] {
            assert_eq!(is_ahead(&own, &said), ahead, "{said:?}");
            assert_eq!(adopt(&own, &said), epoch, "{said:?}");
        }
    }

    #[test]
    fn a_state_meets_its_order() {
        use Desired::{Hold, Pause, Run, Stop};
        use Phase::{Running, Stopped};
        use Verdict::{Done, Moot, Record, Refused};
        let renew = |generation, resend| Verdict::Renew { generation, resend };
        let plain = |desired, phase| (desired, phase, 0, false);
        let refuses = |phase| (Run, phase, 0, true);
        // The order: desired, generation. The state: generation, (what is held, phase, restarts asked for, refused).
        for (order, generation, state, verdict) in [
            ((Run, 2), 2, plain(Run, Running), Record),
            ((Run, 2), 1, plain(Pause, Running), Record),
            ((Run, 2), 2, plain(Pause, Running), renew(3, true)),
            ((Run, 2), 2, (Run, Running, 1, false), renew(3, true)),
            ((Run, 2), 5, plain(Run, Running), renew(5, false)),
            ((Run, 2), 5, (Run, Running, 1, false), renew(6, true)),
            ((Run, 2), 5, plain(Stop, Stopped), renew(6, true)),
            ((Run, 2), 2, refuses(Phase::Pending), Refused),
            ((Pause, 2), 1, refuses(Stopped), Refused),
            ((Hold, 2), 2, plain(Run, Running), Record),
            ((Hold, 2), 2, refuses(Phase::Pending), Record),
            ((Hold, 2), 3, plain(Run, Running), renew(3, false)),
            ((Stop, 2), 1, plain(Run, Running), Record),
            ((Stop, 2), 1, plain(Stop, Stopped), Record),
            ((Stop, 2), 2, plain(Stop, Stopped), Done),
            ((Stop, 2), 3, plain(Stop, Stopped), Done),
            ((Stop, 2), 2, plain(Run, Running), renew(3, true)),
            ((Stop, 2), 5, plain(Run, Running), renew(6, true)),
            ((Stop, 2), 1, refuses(Stopped), Done),
            ((Stop, 2), 1, refuses(Phase::Pending), Moot),
        ] {
            let (desired, phase, restart_count, refused) = state;
            let report = v1::InstanceReport {
                desired: convert::desired_to_wire(desired).into(),
                rejection: refused.then(v1::Rejection::default),
                ..Default::default()
            };
            let observed = Observed {
                generation,
                restart_count,
                phase,
                ..Default::default()
            };
            let recorded = Recorded {
                desired: order.0,
                generation: order.1,
                restart_count: 0,
            };
            assert_eq!(
                judge(recorded, &report, &observed),
                verdict,
                "{recorded:?} meets {state:?} of {generation}"
            );
        }
    }
}
