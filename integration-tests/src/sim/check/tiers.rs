//! What tiers commit: every new assignment, every stop and who caused it.

use std::collections::BTreeSet;

use edgeio_domain::{
    ids::{AssignmentId, ChildId, SlotId},
    records::{Assignment, Desired},
    time::Time,
};
use edgeio_store::{ChangeKind, memory::Snapshot};
use edgeio_tier::engine::Outcome;

use super::{Broken, Memory, Row};
use crate::sim::{
    machine::Machine,
    queue::Part,
    world::{Checked, World},
};

impl World {
    /// Looks at what all databases committed since the last look.
    pub(in crate::sim) fn watch(&mut self) -> Checked {
        self.watch_tier(Part::Root(0), None)?;
        for cluster in 0..self.clusters.len() {
            if !self.clusters[cluster].is_clone {
                self.watch_tier(Part::Cluster(cluster), None)?;
                self.check_accepted_by_cluster(cluster)?;
            }
        }
        Ok(())
    }

    /// I8: who planned and committed holds the engine's lease.
    pub(in crate::sim) fn check_fence(&self, part: Part, outcome: &Outcome) -> Checked {
        let database = self.database(part);
        if outcome.writes == 0 || !database.is_shared {
            return Ok(());
        }
        let snapshot = database.store.snapshot();
        let lease = snapshot.lease(edgeio_tier::leader::ENGINE);
        let holds = lease.map(|lease| lease.epoch);
        if holds == outcome.leads {
            return Ok(());
        }
        let what = format!(
            "{part:?} committed a plan as leader {:?}, the lease is of {holds:?}",
            outcome.leads
        );
        Err(Broken::new("I8 one leader", what))
    }

    /// Looks at one database. With a speaker, everything was committed because of what that child said.
    pub(in crate::sim) fn watch_tier(&mut self, part: Part, speaker: Option<ChildId>) -> Checked {
        let index = Memory::index(part);
        let snapshot = self.database(part).store.snapshot();
        let seen = self.memory.seen.entry(index).or_default();
        let since = seen.revision;
        if snapshot.revision() == since {
            return Ok(());
        }
        seen.revision = snapshot.revision();
        let slots: BTreeSet<SlotId> = snapshot
            .changes(since)
            .filter(|change| change.kind == ChangeKind::Slot)
            .map(|change| SlotId(change.id))
            .collect();
        if slots.is_empty() {
            return Ok(());
        }
        let gone: Vec<AssignmentId> = seen
            .rows
            .iter()
            .filter(|(id, row)| slots.contains(&row.slot) && snapshot.assignment(**id).is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let row = seen.rows.remove(&id);
            if let (Some(row), Some(speaker)) = (row, speaker)
                && row.child != speaker
            {
                let what = format!("{speaker} made {id} of {} go away", row.child);
                return Err(Broken::new("I13 status truth", what));
            }
        }
        let changed: Vec<&Assignment> = snapshot
            .assignments()
            .filter(|a| a.revision > since && slots.contains(&a.slot))
            .collect();
        for assignment in changed {
            if let Some(speaker) = speaker
                && assignment.child != speaker
            {
                let (id, owner) = (assignment.id, assignment.child);
                let what = format!("{speaker} changed {id} of {owner}");
                return Err(Broken::new("I13 status truth", what));
            }
            self.look_at(part, &snapshot, assignment, speaker.is_some())?;
        }
        Ok(())
    }

    fn look_at(&mut self, part: Part, snapshot: &Snapshot, a: &Assignment, told: bool) -> Checked {
        let seen = self.memory.seen.entry(Memory::index(part)).or_default();
        let before = seen.rows.insert(a.id, Row::from(a));
        if self.memory.exclusive_specs.contains(&a.spec_hash) {
            self.memory.exclusive.insert(a.id);
        }
        let known = match part {
            Part::Cluster(_) => self.memory.of_instance.insert(a.id, a.slot),
            Part::Root(_) | Part::Bridge(_) | Part::Worker(_) => {
                self.memory.slots.insert(SlotId(a.id.0), a.slot)
            }
        };
        if let Some(known) = known
            && known != a.slot
            && self.memory.of_instance.contains_key(&a.id)
        {
            // What was found belongs to another slot from now on; it is what it was.
            self.memory.excused.insert(a.id);
        }
        // The number is that of the tier that owns the slot.
        let owner = snapshot
            .slot(a.slot)
            .is_none_or(|slot| slot.upstream.is_none());
        if owner {
            let number = (a.app_uid, a.service.clone(), a.ordinal);
            self.memory.numbers.insert(a.slot, number);
        }
        if a.desired == Desired::Stop {
            let first = before.is_none_or(|before| before.desired != Desired::Stop);
            self.memory.stopped.insert(a.id);
            let decided = self.memory.decided.contains(&a.id)
                || self.memory.decided.contains(&AssignmentId(a.slot.0));
            if first && !decided && !has_reason(snapshot, a) {
                let what = format!(
                    "{part:?} stops {} of slot {} on {} without a reason",
                    a.id, a.slot, a.child
                );
                return Err(Broken::new("I10 stop needs a reason", what));
            }
        } else if before.is_none() && !told {
            self.excuse(part, snapshot, a);
            if let Part::Cluster(_) = part {
                return check_plan(snapshot, a);
            }
        }
        Ok(())
    }

    /// Whether another instance of the replica runs where the tier that placed this one could not know of it.
    fn excuse(&mut self, part: Part, snapshot: &Snapshot, a: &Assignment) {
        let memory = &self.memory;
        let replica = memory.slots.get(&a.slot).copied().unwrap_or(a.slot);
        let lost = |heard: Time, lost: Option<Time>| lost.is_some_and(|lost| lost >= heard);
        let hidden = |machine: &Machine| {
            let cluster = &self.clusters[machine.cluster];
            let at_cluster = lost(machine.heard_at, cluster.database.lost_at)
                || memory.may_replace(Part::Cluster(machine.cluster), machine.id);
            let at_root = lost(cluster.heard_at, self.root.lost_at)
                || memory.may_replace(Part::Root(0), cluster.id);
            match part {
                Part::Cluster(here) if here == machine.cluster => at_cluster,
                Part::Cluster(_) => false,
                Part::Root(_) | Part::Bridge(_) | Part::Worker(_) => at_cluster || at_root,
            }
        };
        let same = |id: AssignmentId| {
            let of = memory.replica(id);
            of.is_some_and(|of| memory.is_same(of, replica))
        };
        // An order that is under way to who is silent will be carried out on its return, its cluster's like this tier's own.
        let ordered = |machine: &Machine| {
            let cluster = self.clusters[machine.cluster].database.store.snapshot();
            let mut there = cluster.assignments().filter(|b| b.child == machine.id);
            there.any(|b| b.id != a.id && b.desired != Desired::Stop && same(b.id))
        };
        let has = |m: &Machine| {
            m.alive().any(same) || m.ledger.durable().entries.into_keys().any(same) || ordered(m)
        };
        let mut machines = self.machines.iter().filter(|m| !m.is_clone && hidden(m));
        let twin = machines.any(has);
        let under_way = snapshot
            .assignments()
            .filter(|b| b.id != a.id && memory.is_same(b.slot, a.slot))
            .any(|b| memory.may_replace(part, b.child));
        if twin || under_way {
            self.memory.excused.insert(a.id);
        }
    }
}

/// I11: a plan puts no more on a worker than it said to have.
fn check_plan(snapshot: &Snapshot, a: &Assignment) -> Checked {
    let Some(child) = snapshot.child(a.child) else {
        return Ok(());
    };
    let there = snapshot.assignments().filter(|b| b.child == a.child);
    let takes: i64 = there
        .filter(|b| b.takes_room())
        .map(|b| b.demand.cpu_millis)
        .sum();
    let has = child.capacity.allocatable.cpu_millis;
    if takes > has {
        let what = format!("{} has {has} millicores and was given {takes}", a.child);
        return Err(Broken::new("I11 capacity", what));
    }
    Ok(())
}

/// Whether the database that stops an assignment says why.
fn has_reason(snapshot: &Snapshot, a: &Assignment) -> bool {
    if snapshot.is_tombstoned(a.id.0) || snapshot.is_tombstoned(a.slot.0) {
        return true;
    }
    let Some(slot) = snapshot.slot(a.slot) else {
        return false;
    };
    if slot.desired == Desired::Stop {
        let application = snapshot.application(slot.app_uid);
        let Some(application) = application.filter(|app| app.deleted_at.is_none()) else {
            return true;
        };
        let wanted = application
            .services
            .iter()
            .find(|service| service.name == slot.service)
            .map_or(0, |service| service.replicas as usize);
        let left = snapshot
            .slots()
            .filter(|s| s.app_uid == slot.app_uid && s.service == slot.service)
            .filter(|s| s.desired != Desired::Stop)
            .count();
        return slot.upstream.is_some() || left >= wanted;
    }
    let surplus = || {
        snapshot
            .assignments()
            .any(|b| b.slot == a.slot && b.id != a.id && b.desired != Desired::Stop)
    };
    slot.spec_hash != a.spec_hash
        || slot.refusals.iter().any(|refusal| refusal.child == a.child)
        || surplus()
}
