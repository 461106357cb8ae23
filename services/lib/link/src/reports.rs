//! Which states a child still has to tell: it keeps telling until the parent has recorded them.

use std::collections::{BTreeMap, VecDeque};

use edgeio_domain::{ids::AssignmentId, time::Time};

/// Numbers the changes of one assignment's state at the child.
pub type StateVersion = u64;

/// A report that is not recorded yet.
#[derive(Debug)]
struct Sent {
    seq: u64,
    /// When it was sent, on CLOCK_BOOTTIME.
    at: Time,
    states: Vec<(AssignmentId, StateVersion)>,
}

/// Bookkeeping of one session.
#[derive(Debug, Default)]
pub struct Reports {
    /// Sequence number of the newest report.
    seq: u64,
    /// What was told, newest version each.
    told: BTreeMap<AssignmentId, StateVersion>,
    /// What is recorded by the parent.
    recorded: BTreeMap<AssignmentId, StateVersion>,
    /// Reports that are not recorded yet.
    open: VecDeque<Sent>,
}

impl Reports {
    /// Nothing is told yet. Numbers go on: the session to come may be the one before, which knows them.
    pub fn begin(&mut self) {
        *self = Self {
            seq: self.seq,
            ..Self::default()
        };
    }

    /// The states that were not told yet in this version.
    pub fn untold<'a>(
        &'a self,
        states: impl Iterator<Item = (AssignmentId, StateVersion)> + 'a,
    ) -> impl Iterator<Item = (AssignmentId, StateVersion)> + 'a {
        states.filter(|(id, version)| self.told.get(id).is_none_or(|told| told < version))
    }

    /// The states that are not recorded by the parent.
    pub fn unrecorded<'a>(
        &'a self,
        states: impl Iterator<Item = (AssignmentId, StateVersion)> + 'a,
    ) -> impl Iterator<Item = (AssignmentId, StateVersion)> + 'a {
        states.filter(|(id, version)| !self.is_recorded(*id, *version))
    }

    /// Whether the parent has recorded this version.
    #[must_use]
    pub fn is_recorded(&self, id: AssignmentId, version: StateVersion) -> bool {
        self.recorded
            .get(&id)
            .is_some_and(|recorded| *recorded >= version)
    }

    /// Notes a report with these states, sent at that time of CLOCK_BOOTTIME, and returns its number.
    pub fn send(&mut self, states: Vec<(AssignmentId, StateVersion)>, at: Time) -> u64 {
        self.seq += 1;
        for (id, version) in &states {
            self.told.insert(*id, *version);
        }
        self.open.push_back(Sent {
            seq: self.seq,
            at,
            states,
        });
        self.seq
    }

    /// Notes that reports up to `seq` are recorded. When the newest of those that were not known to be was sent; nothing
    /// when this tells nothing new, as a repeated Ack or one of reports of an earlier session.
    pub fn acknowledge(&mut self, seq: u64) -> Option<Time> {
        let mut newest = None;
        while let Some(sent) = self.open.pop_front_if(|sent| sent.seq <= seq) {
            newest = Some(sent.at);
            for (id, version) in sent.states {
                let recorded = self.recorded.entry(id).or_default();
                *recorded = (*recorded).max(version);
            }
        }
        newest
    }

    /// Forgets what is not held any more.
    pub fn forget(&mut self, id: AssignmentId) {
        self.told.remove(&id);
        self.recorded.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_state_is_told_until_it_is_recorded() {
        let id = AssignmentId(Uuid::from_u128(1));
        let mut reports = Reports::default();
        let untold = |r: &Reports, v| r.untold([(id, v)].into_iter()).count();
        assert_eq!(untold(&reports, 1), 1);
        let first = reports.send(vec![(id, 1)], Time(10));
        assert_eq!((untold(&reports, 1), untold(&reports, 2)), (0, 1));
        assert!(!reports.is_recorded(id, 1));
        let second = reports.send(vec![(id, 2)], Time(20));
        assert_eq!(reports.acknowledge(first), Some(Time(10)));
        assert_eq!(reports.acknowledge(first), None, "told twice, new once");
        assert!(reports.is_recorded(id, 1) && !reports.is_recorded(id, 2));
        assert_eq!(reports.acknowledge(second), Some(Time(20)));
        assert!(reports.is_recorded(id, 2));
    }
}
