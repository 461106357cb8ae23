//! What must be once nothing has been broken for a while: everything as wished, and all tiers of one mind.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    digest,
    ids::{AssignmentId, SpecHash},
    lifecycle::Phase,
    records::{Assignment, Desired},
};

use super::Broken;
use crate::sim::{
    End,
    machine::JOB_CPU,
    queue::Part,
    users::User,
    world::{Checked, World},
};

/// How many jobs of each spec run for an application.
type Running = BTreeMap<SpecHash, u32>;

fn broken(what: String) -> Checked {
    Err(Broken::new("I1, I3, I14 convergence", what))
}

impl World {
    /// Checks that everything is as the users wish, and that parents and children agree.
    pub(in crate::sim) fn check_converged(&self) -> Checked {
        if let Some(user) = self.users.iter().find(|user| !user.is_done()) {
            return broken(format!("the user of {} got no answer", user.app));
        }
        let running = self.jobs_by_app();
        let mut wanted_in_all = 0;
        for user in &self.users {
            wanted_in_all += user.model.map_or(0, |model| model.replicas);
            self.check_record_of(user)?;
        }
        let mut missing = 0;
        for user in &self.users {
            let none = Running::new();
            let have = running.get(user.app.as_str()).unwrap_or(&none);
            let lacks = check_running(user, have, self.tight)?;
            if lacks > 0 {
                self.check_no_room(user, lacks)?;
            }
            missing += lacks;
        }
        let all: usize = self.machines.iter().map(|m| m.alive().count()).sum();
        let wanted = (wanted_in_all - missing) as usize;
        let held = all.saturating_sub(wanted);
        if all < wanted || held > self.may_be_held() {
            return broken(format!("{all} jobs run, {wanted} are wanted"));
        }
        self.check_agreement()
    }

    /// What each application came to.
    pub(in crate::sim) fn ends(&self) -> Vec<End> {
        let running = self.jobs_by_app();
        let end = |user: &User| {
            let of = running.get(user.app.as_str());
            let count = |version| of.and_then(|r| r.get(&user.kind.hash(version)).copied());
            End {
                name: user.app.clone(),
                wished: user.model.map(|m| (m.replicas, m.version)),
                running: (!self.tight)
                    .then(|| user.model.and_then(|m| count(m.version)).unwrap_or(0)),
            }
        };
        self.users.iter().map(end).collect()
    }

    /// How many jobs may run that nobody asks for: any after a database was lost; else those of workers that were forgotten,
    /// or whose cluster was, once that is not remembered any more.
    fn may_be_held(&self) -> usize {
        if self.root.lost_at.is_some() || self.clusters.iter().any(|c| c.database.lost_at.is_some())
        {
            return usize::MAX;
        }
        if !self.memory.compacted {
            return 0;
        }
        let forgotten = |id| self.memory.forgotten.contains(id);
        let machines = self.machines.iter().filter(|m| !m.is_clone);
        machines
            .filter(|m| forgotten(&m.id) || forgotten(&self.clusters[m.cluster].id))
            .map(|m| m.alive().filter(|id| self.is_held(m.cluster, *id)).count())
            .sum()
    }

    /// I1: what was acknowledged is recorded.
    fn check_record_of(&self, user: &User) -> Checked {
        let snapshot = self.database(user.tier).store.snapshot();
        let own = self.database(user.tier).own;
        let mut found = snapshot
            .applications()
            .filter(|a| a.key.owner == own && a.key.name.as_str() == user.app);
        let have = found.next().map(|application| {
            let service = application.services.first();
            (
                application.deleted_at.is_none(),
                service.map_or(0, |s| s.replicas),
                service.map(|s| s.spec_hash),
            )
        });
        let want = user
            .model
            .map(|model| (true, model.replicas, Some(user.kind.hash(model.version))));
        if have == want {
            return Ok(());
        }
        broken(format!("{} must be {want:?} and is {have:?}", user.app))
    }

    /// Jobs by application and spec, as the machines have them.
    fn jobs_by_app(&self) -> BTreeMap<&str, Running> {
        let mut running: BTreeMap<&str, Running> = BTreeMap::new();
        for machine in self.machines.iter().filter(|m| !m.is_clone) {
            let Some(node) = &machine.node else { continue };
            let alive: BTreeSet<AssignmentId> = machine.alive().collect();
            for entry in node.entries().filter(|e| alive.contains(&e.order.id)) {
                if !self.is_held(machine.cluster, entry.order.id) {
                    let of_app = running.entry(&entry.order.application).or_default();
                    *of_app.entry(entry.order.spec_hash).or_default() += 1;
                }
            }
        }
        running
    }

    /// Whether nobody asks for an instance: its cluster holds it, or the root does.
    pub(super) fn is_held(&self, cluster: usize, id: AssignmentId) -> bool {
        let snapshot = self.clusters[cluster].database.store.snapshot();
        let Some(assignment) = snapshot.assignment(id) else {
            return true;
        };
        let slot = snapshot.slot(assignment.slot);
        let orphan = slot.is_none_or(|s| s.upstream.as_ref().is_some_and(|up| up.orphan));
        let root = self.root.store.snapshot();
        let at_root = root
            .assignment(AssignmentId(assignment.slot.0))
            .is_some_and(|a| a.desired == Desired::Hold && !a.is_mirror());
        assignment.desired == Desired::Hold || orphan || at_root
    }

    /// What is missing fits nowhere.
    fn check_no_room(&self, user: &User, missing: u32) -> Checked {
        let may_use = |cluster| match user.tier {
            Part::Cluster(own) => own == cluster,
            Part::Root(_) | Part::Bridge(_) | Part::Worker(_) => true,
        };
        let machines = self.machines.iter().filter(|m| !m.is_clone);
        for machine in machines.filter(|m| may_use(m.cluster)) {
            let takes = i64::try_from(machine.alive().count()).unwrap_or(0) * JOB_CPU;
            if takes + JOB_CPU <= machine.room {
                return broken(format!(
                    "{missing} jobs of {} are missing and {} has room for one",
                    user.app, machine.name
                ));
            }
        }
        Ok(())
    }

    /// I14: parents and children have the same digests.
    fn check_agreement(&self) -> Checked {
        let root = self.root.store.snapshot();
        for (number, cluster) in self.clusters.iter().enumerate() {
            if cluster.is_clone {
                continue;
            }
            let snapshot = cluster.database.store.snapshot();
            let above: Vec<&Assignment> = root
                .assignments()
                .filter(|a| a.child == cluster.id && a.desired != Desired::Hold)
                .collect();
            let below: Vec<_> = snapshot
                .slots()
                .filter_map(|slot| Some((slot, slot.upstream.as_ref()?)))
                .filter(|(_, up)| !up.orphan)
                .collect();
            let ordered = digest::assignments(
                above
                    .iter()
                    .map(|a| (a.id, a.generation, a.desired, a.restart_count)),
            );
            let held = digest::assignments(below.iter().map(|(slot, up)| {
                let id = AssignmentId(slot.id.0);
                (id, up.generation, slot.desired, slot.restart_count)
            }));
            if ordered != held || above.len() != below.len() {
                return broken(format!(
                    "the root has {} assignments on {}, which has {} slots, or they differ",
                    above.len(),
                    cluster.name,
                    below.len()
                ));
            }
            self.check_workers(number)?;
        }
        let odd = root
            .assignments()
            .find(|a| a.desired == Desired::Run && a.observed.phase != Phase::Running);
        match odd.filter(|a| !self.tight || a.observed.phase != Phase::Pending) {
            Some(a) => broken(format!("the root sees {} as {:?}", a.id, a.observed.phase)),
            None => Ok(()),
        }
    }

    fn check_workers(&self, number: usize) -> Checked {
        let cluster = &self.clusters[number];
        let snapshot = cluster.database.store.snapshot();
        for machine in self
            .machines
            .iter()
            .filter(|m| m.cluster == number && !m.is_clone)
        {
            let mut above = BTreeMap::new();
            for a in snapshot.assignments().filter(|a| a.child == machine.id) {
                above.insert(a.id, (a.generation, a.desired, a.observed.phase));
            }
            let Some(node) = &machine.node else {
                return broken(format!("{} is down", machine.name));
            };
            let alive: BTreeSet<AssignmentId> = machine.alive().collect();
            let mut held = BTreeSet::new();
            for entry in node.entries() {
                let (id, order) = (entry.order.id, &entry.order);
                held.insert(id);
                let same = above.get(&id).is_some_and(|(generation, desired, phase)| {
                    let asked = *desired == Desired::Hold
                        || (*generation, *desired) == (order.generation, order.desired);
                    asked && *phase == entry.status.phase
                });
                if !same || !alive.contains(&id) {
                    return broken(format!(
                        "{} holds {id} as {:?} {:?}, runs it: {}, its cluster has {:?}",
                        machine.name,
                        order.desired,
                        entry.status.phase,
                        alive.contains(&id),
                        above.get(&id)
                    ));
                }
            }
            if above.keys().any(|id| !held.contains(id)) || machine.jobs.len() != held.len() {
                return broken(format!(
                    "{} has {} jobs and holds {}, its cluster has {}",
                    machine.name,
                    machine.jobs.len(),
                    held.len(),
                    above.len()
                ));
            }
        }
        Ok(())
    }
}

/// Whether an application runs as its user wishes; how many are missing where there may not be room.
fn check_running(user: &User, have: &Running, tight: bool) -> Result<u32, Broken> {
    let (replicas, hash) = user.model.map_or((0, SpecHash::default()), |m| {
        (m.replicas, user.kind.hash(m.version))
    });
    let (right, all) = (
        have.get(&hash).copied().unwrap_or(0),
        have.values().sum::<u32>(),
    );
    // Where there is no room an update stops half way: a replica that cannot run keeps the others as they are.
    if all > replicas || (all < replicas && !tight) || (all == replicas && right < all) {
        let what = format!(
            "{} must run {replicas} of {hash:?} and runs {have:?}",
            user.app
        );
        return Err(Broken::new("I1, I3, I14 convergence", what));
    }
    Ok(replicas - all)
}

impl World {
    /// Whether a part of the root answers, for those who read a violation.
    pub(in crate::sim) fn serves(&self, part: Part) -> bool {
        self.process(part).is_some_and(|p| p.loops.is_some())
    }
}
