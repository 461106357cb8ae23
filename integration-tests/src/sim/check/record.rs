//! What runtimes did: nothing twice, nothing again after its end, nothing ended without an order, nothing beyond the room.

use edgeio_domain::ids::AssignmentId;

use super::Broken;
use crate::sim::{
    machine::{JOB_CPU, Machine, Recorded},
    world::{Checked, World},
};

impl World {
    /// Checks one entry of a runtime's record.
    pub(in crate::sim) fn check_record(&mut self, worker: usize, recorded: Recorded) -> Checked {
        if self.machines[worker].is_clone {
            return Ok(());
        }
        match recorded {
            Recorded::Nothing => Ok(()),
            // Without a lease it is stopped until there is one again, which is no end.
            Recorded::Removed(id)
                if self.memory.exclusive.contains(&id) && !self.machines[worker].must_stop(id) =>
            {
                Ok(())
            }
            Recorded::Removed(id) => {
                self.memory.removed.insert(id);
                self.check_removed(worker, id)
            }
            Recorded::Started(id) => {
                if self.memory.removed.contains(&id) {
                    let what = format!("instance {id} was started again after it was stopped");
                    return Err(Broken::new("I6 terminate is final", what));
                }
                self.check_twins(worker, id)?;
                self.check_room(worker)
            }
        }
    }

    /// Somebody decided that it ends: the root, its own cluster, or whoever gave it up.
    fn check_removed(&self, worker: usize, id: AssignmentId) -> Checked {
        let memory = &self.memory;
        if memory.is_in(&memory.stopped, id) || memory.is_in(&memory.abandoned, id) {
            return Ok(());
        }
        let slot = memory.of_instance.get(&id);
        let what = format!(
            "instance {id} of {slot:?} was stopped on worker {worker}, and nobody ordered it"
        );
        Err(Broken::new("I10 stop needs an order", what))
    }

    /// Whether there was a copy of a worker or of its cluster, and so somebody else who spoke in its name.
    pub(super) fn was_copied(&self, machine: &Machine) -> bool {
        let cluster = self.clusters[machine.cluster].id;
        let cloned = &self.memory.cloned;
        machine.is_clone || cloned.contains(&machine.id) || cloned.contains(&cluster)
    }

    /// Where the worker told the truth and its cluster remembers, no more runs than it has room for.
    fn check_room(&self, worker: usize) -> Checked {
        let machine = &self.machines[worker];
        let trusted = !self.memory.liars.contains(&worker)
            && !self.was_copied(machine)
            && self.clusters[machine.cluster].database.lost_at.is_none()
            && !machine
                .alive()
                .any(|id| self.memory.is_in(&self.memory.abandoned, id));
        let takes = i64::try_from(machine.alive().count()).unwrap_or(i64::MAX) * JOB_CPU;
        if trusted && takes > machine.room {
            let what = format!(
                "{} has {} millicores and runs what takes {takes}",
                machine.name, machine.room
            );
            return Err(Broken::new("I11 capacity", what));
        }
        Ok(())
    }
}
