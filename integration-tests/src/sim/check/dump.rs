//! All databases and what the machines run, for whoever reads a violation.

use edgeio_store::memory::Snapshot;

use crate::sim::{machine::Machine, queue::Part, world::World};

impl World {
    pub(in crate::sim) fn dump(&self) -> String {
        let mut lines = Vec::new();
        for number in 0..self.roots.len() {
            let part = Part::Root(number);
            lines.push(format!("{part:?} up {}", self.serves(part)));
        }
        tier("root", &self.root.store.snapshot(), &mut lines);
        for (number, cluster) in self.clusters.iter().enumerate() {
            lines.push(format!(
                "{} {} up {} attached {:?} clone {}",
                cluster.name,
                cluster.id,
                self.serves(Part::Cluster(number)),
                cluster.attached,
                cluster.is_clone
            ));
            tier(
                &cluster.name,
                &cluster.database.store.snapshot(),
                &mut lines,
            );
        }
        lines.extend(self.machines.iter().map(machine));
        for user in &self.users {
            lines.push(format!(
                "user of {} at {:?}: {:?} done {}",
                user.app,
                user.tier,
                user.model,
                user.is_done()
            ));
        }
        lines.join("\n")
    }
}

fn tier(name: &str, snapshot: &Snapshot, lines: &mut Vec<String>) {
    for a in snapshot.applications() {
        let services: Vec<_> = a
            .services
            .iter()
            .map(|s| (s.replicas, s.spec_hash))
            .collect();
        lines.push(format!(
            "{name} application {} of {:?} {} {services:?} deleted {}",
            a.key.name,
            a.key.owner,
            a.uid,
            a.deleted_at.is_some()
        ));
    }
    for s in snapshot.slots() {
        lines.push(format!(
            "{name} slot {} {}/{} {:?} spec {:?} refusals {:?} pending {:?} upstream {:?}",
            s.id, s.app.name, s.ordinal, s.desired, s.spec_hash, s.refusals, s.pending, s.upstream
        ));
    }
    for a in snapshot.assignments() {
        lines.push(format!(
            "{name} assignment {} slot {} on {} {:?} generation {} ordered at {} seen {:?} {}",
            a.id,
            a.slot,
            a.child,
            a.desired,
            a.generation,
            a.order_revision,
            a.observed.phase,
            a.observed.message
        ));
    }
    for c in snapshot.children() {
        lines.push(format!(
            "{name} child {} {} {:?} session {} adopting {} capacity {:?}",
            c.display(),
            c.id,
            c.state,
            c.session_epoch,
            c.adopting,
            c.capacity
        ));
    }
}

fn machine(m: &Machine) -> String {
    let held = m.node.as_ref().map(|node| {
        node.entries()
            .map(|e| (e.order.id, e.order.desired, e.status.phase, e.status.orphan))
            .collect::<Vec<_>>()
    });
    format!(
        "{} {} of c{} clone {} jobs {:?} holds {held:?}",
        m.name, m.id, m.cluster, m.is_clone, m.jobs
    )
}
