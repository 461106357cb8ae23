//! The invariants, judged by the runtimes' own record. Names are those of the fault model.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    ids::{AssignmentId, SlotId},
    lifecycle::Phase,
    records::Desired,
};
use edgeio_store::{ApplicationFilter, AssignmentFilter, SlotFilter, Store as _};
use futures::executor::block_on;

use super::{machine::Recorded, world::World};

/// What the checks remember.
#[derive(Default)]
pub(super) struct Memory {
    /// The root's slot of each of the root's assignments, which are the cluster's slots.
    slots: BTreeMap<SlotId, SlotId>,
    /// The root's assignments that were ordered to stop, or are gone after that.
    stopped: BTreeSet<SlotId>,
    /// Instances that a runtime removed because its node asked for it.
    removed: BTreeSet<AssignmentId>,
    /// The cluster's slot of each instance.
    of_instance: BTreeMap<AssignmentId, SlotId>,
    /// Newest wish per application that the root acknowledged: replicas, or `None` when deleted.
    pub(super) wishes: BTreeMap<usize, Option<u32>>,
    /// Root slots whose application was changed by a user after the slot was made need no reason to stop; others do.
    at_root: u64,
}

type Checked = Result<(), (&'static str, String)>;

impl World {
    /// Looks at the root's orders after it did something.
    pub(super) fn watch_root(&mut self) {
        let revision = *self.root.store.watch().borrow();
        if revision == self.memory.at_root {
            return;
        }
        self.memory.at_root = revision;
        let found = block_on(async {
            let tx = self.root.store.read().await.ok()?;
            tx.assignments(&AssignmentFilter::default()).await.ok()
        });
        for assignment in found.unwrap_or_default() {
            let id = SlotId(assignment.id.0);
            self.memory.slots.insert(id, assignment.slot);
            if assignment.desired == Desired::Stop {
                self.memory.stopped.insert(id);
            }
        }
    }

    /// Remembers which slot an instance fills.
    pub(super) fn note_instance(&mut self, instance: AssignmentId, slot: SlotId) {
        self.memory.of_instance.insert(instance, slot);
    }

    /// Checks one entry of a runtime's record.
    pub(super) fn check_record(&mut self, worker: usize, recorded: Recorded) -> Checked {
        match recorded {
            Recorded::Nothing => Ok(()),
            Recorded::Removed(id) => {
                self.memory.removed.insert(id);
                let slot = self
                    .memory
                    .of_instance
                    .get(&id)
                    .copied()
                    .unwrap_or_default();
                if self.memory.stopped.contains(&slot) {
                    return Ok(());
                }
                Err((
                    "stop needs an order",
                    format!(
                        "instance {id} was stopped on worker {worker}, but the root ordered no stop of {slot}"
                    ),
                ))
            }
            Recorded::Started(id) => {
                if self.memory.removed.contains(&id) {
                    return Err((
                        "I6 terminate is final",
                        format!("instance {id} was started again after it was stopped"),
                    ));
                }
                let slot_of = |id: &AssignmentId| {
                    let slot = self.memory.of_instance.get(id)?;
                    self.memory.slots.get(slot)
                };
                let Some(mine) = slot_of(&id) else {
                    return Ok(());
                };
                let twin = self
                    .workers
                    .iter()
                    .flat_map(|w| w.alive())
                    .find(|other| *other != id && slot_of(other) == Some(mine));
                match twin {
                    Some(twin) => Err((
                        "I3 nothing twice",
                        format!("instances {id} and {twin} run for one replica {mine}"),
                    )),
                    None => Ok(()),
                }
            }
        }
    }

    /// Checks that everything is as the users wish, once nothing has been broken for a while.
    pub(super) fn check_converged(&self) -> Checked {
        let bad = |what: String| Err(("I1, I3, I14 convergence", what));
        let (wanted, names) = self.wanted();
        for (name, wish) in &self.memory.wishes {
            let app = super::scenario::app_name(*name);
            let have = names.get(app.as_str()).copied();
            if have != *wish {
                return bad(format!(
                    "the root acknowledged {wish:?} replicas of {app} and has {have:?}"
                ));
            }
        }
        let running: usize = self.workers.iter().map(|w| w.alive().count()).sum();
        if running != wanted {
            return bad(format!("{running} jobs run, {wanted} are wanted"));
        }
        let (at_root, others) = self.states();
        if at_root != wanted || others > 0 {
            return bad(format!(
                "the root sees {at_root} running and {others} others, {wanted} are wanted"
            ));
        }
        for worker in &self.workers {
            let held = worker
                .node
                .as_ref()
                .map_or(0, |node| node.entries().count());
            let alive = worker.alive().count();
            if held != alive || worker.jobs.len() != alive {
                return bad(format!(
                    "{} holds {held} instances, runs {alive} and has {}",
                    worker.name,
                    worker.jobs.len()
                ));
            }
        }
        Ok(())
    }

    /// Replicas that the root's database wants, in all and by application.
    fn wanted(&self) -> (usize, BTreeMap<String, u32>) {
        let apps = block_on(async {
            let tx = self.root.store.read().await.ok()?;
            tx.applications(&ApplicationFilter::default()).await.ok()
        });
        let count = |app: &edgeio_domain::records::Application| {
            app.services.iter().map(|s| s.replicas).sum::<u32>()
        };
        let apps = apps.unwrap_or_default();
        let names: BTreeMap<String, u32> = apps
            .iter()
            .map(|a| (a.key.name.to_string(), count(a)))
            .collect();
        (names.values().sum::<u32>() as usize, names)
    }

    /// How many of the root's assignments run, and how many records of other kinds are left anywhere.
    fn states(&self) -> (usize, usize) {
        let read = |store: &edgeio_store::memory::MemoryStore| {
            block_on(async {
                let tx = store.read().await.ok()?;
                let assignments = tx.assignments(&AssignmentFilter::default()).await.ok()?;
                let slots = tx.slots(&SlotFilter::default()).await.ok()?;
                Some((assignments, slots))
            })
            .unwrap_or_default()
        };
        let (at_root, root_slots) = read(&self.root.store);
        let (at_cluster, cluster_slots) = read(&self.cluster.store);
        let runs = at_root
            .iter()
            .filter(|a| a.is_live() && a.observed.phase == Phase::Running)
            .count();
        let odd = |n: usize| n.abs_diff(runs);
        let others = (at_root.len() - runs)
            + odd(root_slots.len())
            + odd(at_cluster
                .iter()
                .filter(|a| a.observed.phase == Phase::Running)
                .count())
            + odd(at_cluster.len())
            + odd(cluster_slots.len());
        (runs, others)
    }

    /// Both databases and what the machines run, for whoever reads a violation.
    pub(super) fn dump(&self) -> String {
        let tier = |name: &str, store: &edgeio_store::memory::MemoryStore| {
            let found = block_on(async {
                let tx = store.read().await.ok()?;
                let slots = tx.slots(&SlotFilter::default()).await.ok()?;
                let assignments = tx.assignments(&AssignmentFilter::default()).await.ok()?;
                Some((slots, assignments, tx.children().await.ok()?))
            });
            let (slots, assignments, children) = found.unwrap_or_default();
            let slot = |s: &edgeio_domain::records::Slot| {
                format!(
                    "{name} slot {} {:?} refusals {:?} pending {:?} upstream {:?}",
                    s.id, s.desired, s.refusals, s.pending, s.upstream
                )
            };
            let assignment = |a: &edgeio_domain::records::Assignment| {
                format!(
                    "{name} assignment {} slot {} {:?} generation {} ordered at {} seen {:?}",
                    a.id, a.slot, a.desired, a.generation, a.order_revision, a.observed.phase
                )
            };
            let child = |c: &edgeio_domain::child::Child| {
                format!(
                    "{name} child {} {:?} session {} capacity {:?}",
                    c.id, c.state, c.session_epoch, c.capacity
                )
            };
            let lines = slots
                .iter()
                .map(slot)
                .chain(assignments.iter().map(assignment))
                .chain(children.iter().map(child));
            lines.collect::<Vec<String>>().join("\n")
        };
        let machine = |m: &super::machine::Machine| {
            let held = m.node.as_ref().map(|node| {
                node.entries()
                    .map(|e| (e.order.id, e.order.desired, e.status.phase))
                    .collect::<Vec<_>>()
            });
            format!("{} jobs {:?} holds {held:?}", m.name, m.jobs)
        };
        let machines: Vec<String> = self.workers.iter().map(machine).collect();
        format!(
            "{}\n{}\n{}",
            tier("root", &self.root.store),
            tier("cluster", &self.cluster.store),
            machines.join("\n")
        )
    }
}
