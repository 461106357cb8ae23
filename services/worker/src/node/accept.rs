//! Taking orders: everything of an acceptance is written in one batch, and only then does any of it count.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeio_domain::{
    ids::{AssignmentId, SpecHash},
    node::{Entry, Rejection, RejectionReason, Status},
    plan::instance::Seen,
    plant::{self, Plant},
    records::Desired,
};
use edgeio_link::{convert, holdings::Acceptance};
use tracing::{info, warn};

use super::{Node, Now, Sight, Spec, Unit, Willing, decode, job, runtime_of};
use crate::{
    ledger::{Batch, LedgerError},
    runtime::RuntimeKind,
};

/// For a planted bug: whether an entry counts before it is durable.
fn is_late(entry: &Entry) -> bool {
    plant::on(Plant::AckBeforeFsync) && entry.order.desired == Desired::Stop
}

impl Node {
    /// Makes an acceptance durable and takes it in.
    pub(super) fn accept(&mut self, acceptance: &Acceptance) -> Result<(), LedgerError> {
        for (id, fault) in &acceptance.unread {
            warn!(instance = %id, error = %fault, "an order of a kind that this version does not know is left out");
        }
        let mut staged = self.stage(acceptance);
        let specs = self.missing_specs(acceptance, &staged);
        let decoded: BTreeMap<SpecHash, Spec> = specs
            .iter()
            .map(|(hash, body)| (*hash, decode(body)))
            .collect();
        for unit in self.units.values() {
            if decoded.contains_key(&unit.entry.order.spec_hash) {
                staged
                    .entry(unit.id())
                    .or_insert_with(|| unit.entry.clone());
            }
        }
        let mut held = self.held();
        for entry in staged.values_mut() {
            let hash = &entry.order.spec_hash;
            let spec = decoded.get(hash).or_else(|| self.specs.get(hash));
            self.admit(entry, spec, held);
            held += usize::from(self.is_new(entry) && entry.status.rejection.is_none());
        }
        let moved = self.child.accepted_point() != Some(acceptance.accepted);
        let batch = Batch {
            accepted: moved.then_some(acceptance.accepted),
            put: staged.values().filter(|e| !is_late(e)).cloned().collect(),
            specs,
            ..Batch::default()
        };
        if !batch.is_empty() {
            self.save(batch)?;
        }
        self.specs.extend(decoded);
        for (id, entry) in staged {
            let late = is_late(&entry);
            self.take(id, entry);
            if let Some(unit) = self.units.get_mut(&id).filter(|_| late) {
                unit.dirty = true;
                self.ledger_again = Some(self.acted.boot + Duration::from_secs(1));
            }
        }
        Ok(())
    }

    /// The entries that an acceptance changes, as they shall be.
    fn stage(&self, acceptance: &Acceptance) -> BTreeMap<AssignmentId, Entry> {
        let mut staged: BTreeMap<AssignmentId, Entry> = BTreeMap::new();
        let flags = [(&acceptance.orphaned, true), (&acceptance.claimed, false)];
        for (ids, orphan) in flags {
            for id in ids {
                if let Some(unit) = self.units.get(id) {
                    let mut entry = unit.entry.clone();
                    entry.status.orphan = orphan;
                    if orphan && plant::on(Plant::AbsenceIsStop) {
                        entry.order.desired = Desired::Stop;
                    }
                    staged.insert(*id, entry);
                }
            }
        }
        for wire in &acceptance.take {
            let order = match convert::order_from_wire(wire) {
                Ok(order) => order,
                Err(fault) => {
                    warn!(instance = wire.id, error = %fault, "order that cannot be understood is held back");
                    continue;
                }
            };
            let id = order.id;
            let known = staged
                .remove(&id)
                .or_else(|| self.units.get(&id).map(|unit| unit.entry.clone()));
            let mut status = known.map_or_else(Status::default, |entry| entry.status);
            status.rejection = None;
            status.orphan = false;
            status.touched |= self.leftovers.contains_key(&id);
            // A cluster that was put back to an older copy counts from there: the next restart that a user asks for is one.
            status.restarted = status.restarted.min(order.restart_count);
            info!(
                application = order.application, service = order.service, ordinal = order.ordinal, instance = %id,
                generation = order.generation, desired = ?order.desired, "order accepted"
            );
            staged.insert(id, Entry { order, status });
        }
        staged
    }

    /// The specs that came along, are needed and are not there yet.
    fn missing_specs(
        &self,
        acceptance: &Acceptance,
        staged: &BTreeMap<AssignmentId, Entry>,
    ) -> Vec<(SpecHash, Vec<u8>)> {
        let held = self.units.values().map(|unit| unit.entry.order.spec_hash);
        let needed: BTreeSet<SpecHash> = staged
            .values()
            .map(|entry| entry.order.spec_hash)
            .chain(held)
            .collect();
        let mut found: BTreeMap<SpecHash, Vec<u8>> = BTreeMap::new();
        for (hash, body) in &acceptance.specs {
            if needed.contains(hash) && !self.specs.contains_key(hash) {
                found.insert(*hash, body.clone());
            }
        }
        found.into_iter().collect()
    }

    /// How many instances it holds: those that it refused, that ended or that are to stop do not count.
    fn held(&self) -> usize {
        let counts = |entry: &&Entry| {
            entry.order.desired != Desired::Stop
                && entry.status.rejection.is_none()
                && !entry.status.phase.is_terminal()
        };
        self.entries().filter(counts).count()
    }

    /// Whether an entry is of an instance that the node has not taken before.
    fn is_new(&self, entry: &Entry) -> bool {
        let before = self.units.get(&entry.order.id);
        entry.order.desired != Desired::Stop
            && !entry.status.touched
            && before.is_none_or(|unit| unit.entry.status.rejection.is_some())
    }

    /// Refuses what this node cannot run, or does not want. What was started once is never refused, whatever became of the node since.
    fn admit(&self, entry: &mut Entry, spec: Option<&Spec>, held: usize) {
        if entry.status.touched || entry.order.desired == Desired::Stop {
            return;
        }
        entry.status.rejection = match spec {
            None => None,
            Some(Err(fault)) => Some(Rejection {
                reason: RejectionReason::InvalidSpec,
                message: fault.clone(),
            }),
            Some(Ok(spec)) => {
                let offers: Vec<_> = self.engines.values().map(|e| e.offer.clone()).collect();
                job::admit(spec, &offers, &self.policy)
            }
        };
        if entry.status.rejection.is_none() && self.is_new(entry) {
            entry.status.rejection = self.willing.refusal(held);
        }
        if let Some(rejection) = &entry.status.rejection {
            info!(instance = %entry.order.id, reason = rejection.message, "order refused");
        }
    }

    /// Takes in an entry that is durable.
    fn take(&mut self, id: AssignmentId, entry: Entry) {
        if let Some(unit) = self.units.get_mut(&id) {
            unit.replace(entry);
            if unit.runtime.is_none() {
                let spec = self.specs.get(&unit.entry.order.spec_hash);
                unit.runtime = runtime_of(&unit.entry, spec, &self.engines);
            }
            return;
        }
        let spec = self.specs.get(&entry.order.spec_hash);
        let runtime = runtime_of(&entry, spec, &self.engines);
        let seen = self.first_sight(runtime.as_ref());
        let mut unit = Unit::new(entry, runtime);
        unit.seen = seen;
        if let Some((kind, sight)) = self.leftovers.remove(&id) {
            info!(instance = %id, runtime = %kind, "found running and adopted");
            let now = sight.running_since.unwrap_or_default();
            unit.see(
                &kind,
                sight,
                Now {
                    boot: now,
                    wall: now,
                },
            );
        }
        self.units.insert(id, unit);
    }

    /// What is known of an id that no listing so far has shown: absent, if those who could have it were listed.
    pub(super) fn first_sight(&self, runtime: Option<&RuntimeKind>) -> Seen {
        let absent = match runtime.and_then(|kind| self.engines.get(kind)) {
            Some(engine) => engine.listed && !engine.down,
            None => self.engines.values().all(|e| e.listed && !e.down),
        };
        if absent { Seen::Absent } else { Seen::Unknown }
    }

    /// Whether a runtime of this worker is behind that name.
    pub(super) fn is_offered(&self, runtime: Option<&RuntimeKind>) -> bool {
        runtime.is_some_and(|kind| self.engines.contains_key(kind))
    }

    /// Notes what a listing shows of ids that the ledger does not hold.
    pub(super) fn note_leftover(&mut self, kind: &RuntimeKind, id: AssignmentId, sight: Sight) {
        if !self.leftovers.contains_key(&id) && !self.tombstones.contains_key(&id) {
            warn!(instance = %id, runtime = %kind, "found an instance of this worker that its ledger does not know: it is left alone");
        }
        self.leftovers.insert(id, (kind.clone(), sight));
    }
}

impl Willing {
    /// Why a new instance is not taken beside that many.
    fn refusal(&self, held: usize) -> Option<Rejection> {
        let most = usize::try_from(self.max_instances).unwrap_or(usize::MAX);
        let message = if !self.accept_new {
            "this worker takes nothing new: `accept_new` is off in its configuration".to_owned()
        } else if most > 0 && held >= most {
            format!(
                "this worker takes {most} instances at most, as `max_instances` in its configuration says, and has {held}"
            )
        } else {
            return None;
        };
        Some(Rejection {
            reason: RejectionReason::Unwilling,
            message,
        })
    }
}
