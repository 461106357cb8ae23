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

    fn check_twins(&self, worker: usize, id: AssignmentId) -> Checked {
        let memory = &self.memory;
        let Some(replica) = memory.replica(id) else {
            return Ok(());
        };
        let may_be_two = |id: AssignmentId| {
            memory.is_in(&memory.excused, id) || memory.is_in(&memory.abandoned, id)
        };
        let here = &self.machines[worker];
        if may_be_two(id) || self.was_copied(here) {
            return Ok(());
        }
        let others = self.machines.iter().filter(|m| !self.was_copied(m));
        for machine in others {
            for other in machine.alive() {
                if other != id && memory.replica(other) == Some(replica) && !may_be_two(other) {
                    let (here, there) = (&here.name, &machine.name);
                    let what = format!(
                        "instance {id} was started on {here} while {other} runs on {there}, both for replica {replica}"
                    );
                    return Err(Broken::new("I3 nothing twice", what));
                }
            }
        }
        Ok(())
    }

    /// Whether there was a copy of a worker or of its cluster, and so somebody else who spoke in its name.
    fn was_copied(&self, machine: &Machine) -> bool {
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
