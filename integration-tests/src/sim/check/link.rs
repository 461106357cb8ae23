//! What a child says to have applied is what it holds.

use std::collections::BTreeMap;

use edgeio_domain::{
    child::Accepted,
    ids::{AssignmentId, ChildId, SlotId},
    records::Desired,
};
use edgeio_store::memory::Snapshot;

use super::{Broken, Memory};
use crate::sim::world::{Checked, World};

impl Memory {
    /// A copy of a database was put back, or it was lost: points of that history are not told apart from those of the
    /// history that follows, until a child that is ahead of it has raised the issuer epoch.
    pub(in crate::sim) fn ambiguous(&mut self, snapshot: &Snapshot) {
        let meta = snapshot.meta();
        self.ambiguous.insert((meta.lineage, meta.issuer_epoch));
    }
}

impl World {
    /// Of a point that a worker accepted, every order to run is held, or its id is buried.
    pub(in crate::sim) fn check_accepted_by_worker(&mut self, worker: usize) -> Checked {
        let machine = &self.machines[worker];
        let Some(node) = &machine.node else {
            return Ok(());
        };
        let accepted = node.accepted();
        let before = self.memory.accepted.insert(machine.id, accepted);
        let (Some(point), false) = (accepted, before == Some(accepted)) else {
            return Ok(());
        };
        if machine.is_clone || self.memory.cloned.contains(&machine.id) {
            return Ok(());
        }
        // What is being stopped is not run again, whatever is ordered.
        let number = |order: &edgeio_domain::node::Order| match order.desired {
            Desired::Stop => u64::MAX,
            Desired::Run | Desired::Pause | Desired::Hold => order.generation,
        };
        let held: BTreeMap<AssignmentId, u64> = node
            .entries()
            .map(|entry| (entry.order.id, number(&entry.order)))
            .collect();
        let buried = machine.ledger.durable().tombstones;
        let snapshot = self.clusters[machine.cluster].database.store.snapshot();
        let has = |id: AssignmentId, generation: u64| {
            held.get(&id).is_some_and(|held| *held >= generation) || buried.contains_key(&id)
        };
        self.check_applied(&machine.name, machine.id, &point, &snapshot, &has)
    }

    /// The same of a cluster.
    pub(in crate::sim) fn check_accepted_by_cluster(&mut self, number: usize) -> Checked {
        let cluster = &self.clusters[number];
        let own = cluster.database.store.snapshot();
        let accepted = own.meta().uplink.accepted;
        let before = self.memory.accepted.insert(cluster.id, accepted);
        let (Some(point), false) = (accepted, before == Some(accepted)) else {
            return Ok(());
        };
        if cluster.database.lost_at.is_some() || self.memory.cloned.contains(&cluster.id) {
            return Ok(());
        }
        let has = |id: AssignmentId, generation: u64| {
            let slot = own.slot(SlotId(id.0));
            let stops = slot.is_some_and(|slot| slot.desired == Desired::Stop);
            let up = slot.and_then(|slot| slot.upstream.as_ref());
            stops || up.is_some_and(|up| up.generation >= generation) || own.is_tombstoned(id.0)
        };
        let above = self.root.store.snapshot();
        self.check_applied(&cluster.name, cluster.id, &point, &above, &has)
    }

    fn check_applied(
        &self,
        name: &str,
        child: ChildId,
        point: &Accepted,
        above: &Snapshot,
        has: &dyn Fn(AssignmentId, u64) -> bool,
    ) -> Checked {
        let meta = above.meta();
        let same = (point.lineage, point.issuer_epoch) == (meta.lineage, meta.issuer_epoch);
        let told_apart = !self
            .memory
            .ambiguous
            .contains(&(meta.lineage, meta.issuer_epoch));
        if !same || !told_apart || point.revision > meta.revision {
            return Ok(());
        }
        let missing = above
            .assignments()
            .filter(|a| a.child == child && a.is_live())
            .filter(|a| a.order_revision > 0 && a.order_revision <= point.revision)
            .find(|a| !has(a.id, a.generation));
        match missing {
            None => Ok(()),
            Some(a) => {
                let what = format!(
                    "{name} has accepted revision {} and does not hold {} {:?} of generation {}, ordered at {}",
                    point.revision, a.id, a.desired, a.generation, a.order_revision
                );
                Err(Broken::new("I14 applied is held", what))
            }
        }
    }
}
