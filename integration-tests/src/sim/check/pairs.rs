//! Copies of one replica that run at the same time, by the runtimes' own record: which may, and for how long.
//!
//! I3 judges the moment at which a copy is started: another one runs that its tier knew of. I5 judges each moment at which
//! two of an exclusive service run: where an agent was there to stop them, they must not. I4 judges how long both run once
//! all tiers above hear both.

use edgeio_domain::{
    child::ChildState,
    ids::{AssignmentId, SlotId},
    time::Time,
};

use super::Broken;
use crate::sim::{
    machine::Machine,
    network::Lane,
    queue::Part,
    world::{Checked, World},
};

/// An agent that was started or woke up has so long until it must have stopped what may not run: it looks at what runs
/// first. In milliseconds.
const WAKES: i64 = 3_000;
/// Both copies were heard for so long by every tier above them, and one of them lost: one round of reports, the stop, and
/// as much again for messages that were lost. In milliseconds.
const RECONCILED: i64 = 40_000;

/// Two copies that run.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    ids: [AssignmentId; 2],
    replica: SlotId,
    /// Since when everything above them hears both.
    heard: Option<Time>,
}

impl World {
    /// A copy was started on a machine.
    pub(super) fn check_twins(&mut self, worker: usize, id: AssignmentId) -> Checked {
        let memory = &mut self.memory;
        memory.places.insert(id, worker);
        let Some(replica) = memory.replica(id) else {
            return Ok(());
        };
        let memory = &self.memory;
        let may_be_two = |id: AssignmentId| {
            memory.is_in(&memory.excused, id) || memory.is_in(&memory.abandoned, id)
        };
        let here = &self.machines[worker];
        let (excused, copied) = (may_be_two(id), self.was_copied(here));
        let mut pairs = Vec::new();
        for machine in self.machines.iter().filter(|m| !m.is_clone) {
            for other in machine.alive() {
                let of = memory.replica(other);
                if other == id || !of.is_some_and(|of| memory.is_same(of, replica)) {
                    continue;
                }
                // What nobody asks for runs beside what fills its number.
                let held = |machine: &Machine, id| self.is_held(machine.cluster, id);
                if of != Some(replica) && (held(here, id) || held(machine, other)) {
                    continue;
                }
                if !excused && !copied && !self.was_copied(machine) && !may_be_two(other) {
                    let (here, there) = (&here.name, &machine.name);
                    let what = format!(
                        "instance {id} was started on {here} while {other} runs on {there}, both for replica {replica}"
                    );
                    return Err(Broken::new("I3 nothing twice", what));
                }
                pairs.push(Pair {
                    ids: [other, id],
                    replica,
                    heard: None,
                });
            }
        }
        self.memory.pairs.extend(pairs);
        Ok(())
    }

    /// Looks at the copies that run at the same time.
    pub(in crate::sim) fn check_pairs(&mut self) -> Checked {
        if self.memory.pairs.is_empty() {
            return Ok(());
        }
        let mut pairs = std::mem::take(&mut self.memory.pairs);
        pairs.retain(|pair| pair.ids.iter().all(|id| self.runs(*id).is_some()));
        for pair in &mut pairs {
            self.check_exclusive(pair)?;
            let now = self.queue.now;
            if !self.is_reconciled(pair) {
                pair.heard = None;
            } else if now.0 - pair.heard.get_or_insert(now).0 >= RECONCILED {
                let [a, b] = pair.ids;
                let (replica, ms) = (pair.replica, RECONCILED);
                let what = format!(
                    "{a} and {b} of replica {replica} both run, {ms} ms after all above them hear both"
                );
                return Err(Broken::new("I4 one copy stays", what));
            }
        }
        self.memory.pairs = pairs;
        Ok(())
    }

    /// The machine on which an instance runs.
    fn runs(&self, id: AssignmentId) -> Option<&Machine> {
        let machine = &self.machines[*self.memory.places.get(&id)?];
        machine.alive().any(|alive| alive == id).then_some(machine)
    }

    /// Whether somebody took the consequences upon himself, or a tier lost what it knew.
    fn is_given_up(&self, id: AssignmentId, machine: &Machine) -> bool {
        let memory = &self.memory;
        let cluster = &self.clusters[machine.cluster];
        memory.is_in(&memory.abandoned, id)
            || self.was_copied(machine)
            || cluster.database.lost_at.is_some()
            || self.root.lost_at.is_some()
    }

    fn check_exclusive(&self, pair: &Pair) -> Checked {
        let [a, b] = pair.ids;
        if !self.memory.exclusive.contains(&a) || !self.memory.exclusive.contains(&b) {
            return Ok(());
        }
        let mut names = Vec::new();
        for id in pair.ids {
            let Some(machine) = self.runs(id) else {
                return Ok(());
            };
            let cluster = self.clusters[machine.cluster].id;
            let fenced = |child| self.memory.fenced.contains(child);
            let acts = machine.node.is_some() && self.queue.now.0 >= machine.acts_since.0 + WAKES;
            if !acts || self.is_given_up(id, machine) || fenced(&machine.id) || fenced(&cluster) {
                return Ok(());
            }
            names.push(format!("{id} on {}", machine.name));
        }
        let what = format!(
            "replica {} is exclusive and runs twice: {}",
            pair.replica,
            names.join(", ")
        );
        Err(Broken::new("I5 exclusive", what))
    }

    /// Whether all tiers above two copies hear both, and have for the moment no reason to let them run.
    fn is_reconciled(&self, pair: &Pair) -> bool {
        if self.network.weather.drop > 2 {
            return false;
        }
        let both: Vec<&Machine> = pair.ids.iter().filter_map(|id| self.runs(*id)).collect();
        let [a, b] = both[..] else { return false };
        let given_up = |id: AssignmentId, machine| self.is_given_up(id, machine);
        let at_one = a.cluster == b.cluster;
        !given_up(pair.ids[0], a)
            && !given_up(pair.ids[1], b)
            && [a, b].into_iter().all(|m| self.is_heard(m))
            && (at_one || [a, b].into_iter().all(|m| self.is_cluster_heard(m.cluster)))
    }

    fn is_whole(&self, part: Part) -> bool {
        !self.frozen.contains_key(&part) && self.serves(part) && !self.database(part).is_full
    }

    fn is_heard(&self, machine: &Machine) -> bool {
        let Some(worker) = self.machines.iter().position(|m| std::ptr::eq(m, machine)) else {
            return false;
        };
        let bridges = &self.clusters[machine.cluster].bridges;
        let good = |bridge: &usize| {
            self.bridges[*bridge].up
                && !self.frozen.contains_key(&Part::Bridge(*bridge))
                && self.network.is_open(Lane::BridgeUp(*bridge))
                && self.network.is_open(Lane::BridgeDown(*bridge))
        };
        let snapshot = self.clusters[machine.cluster].database.store.snapshot();
        let ready = snapshot
            .child(machine.id)
            .is_some_and(|child| child.state == ChildState::Ready && !child.adopting);
        ready
            && machine.node.is_some()
            && !machine.ledger_fails
            && !self.frozen.contains_key(&Part::Worker(worker))
            && self.is_whole(Part::Cluster(machine.cluster))
            && bridges.iter().all(good)
            && World::ways(Part::Worker(worker))
                .into_iter()
                .all(|lane| self.network.is_open(lane))
    }

    fn is_cluster_heard(&self, cluster: usize) -> bool {
        let id = self.clusters[cluster].id;
        let snapshot = self.root.store.snapshot();
        let ready = snapshot
            .child(id)
            .is_some_and(|child| child.state == ChildState::Ready && !child.adopting);
        let root = self.clusters[cluster].attached;
        ready
            && root.is_some_and(|root| self.is_whole(Part::Root(root)))
            && World::ways(Part::Cluster(cluster))
                .into_iter()
                .all(|lane| self.network.is_open(lane))
    }
}
