//! What runtimes answer: sights, listings and failures.

use std::collections::BTreeSet;

use edgeio_domain::{
    backoff,
    ids::AssignmentId,
    lifecycle::Event,
    node::{Rejection, RejectionReason},
    plan::instance::Seen,
    records::Desired,
    spec::RestartPolicy,
};
use tracing::{debug, warn};

use crate::runtime::RuntimeKind;

use super::{
    Node, Now, Sight,
    types::{Fault, FaultClass, Listing, OpKind, Outcome, TAIL_BYTES},
    unit::{Busy, Unit, step},
};

impl Node {
    /// Takes the answer to [`super::Effect::List`].
    pub fn seen(&mut self, listing: Listing, now: Now) {
        let kind = listing.runtime;
        let Some(engine) = self.engines.get_mut(&kind) else {
            return;
        };
        // What was not asked for may show the past.
        let Some(since) = engine.asked.take() else {
            return;
        };
        match listing.result {
            Ok(list) => {
                engine.answered(now);
                self.leftovers.retain(|_, (runtime, _)| *runtime != kind);
                let mut named = BTreeSet::new();
                for (id, sight) in list {
                    named.insert(id);
                    match self.units.get_mut(&id) {
                        Some(unit) if unit.busy.is_none() && unit.fresh <= since => {
                            unit.see(&kind, sight, now);
                        }
                        Some(_) => {}
                        None => self.note_leftover(&kind, id, sight),
                    }
                }
                self.miss(&kind, &named, since, now);
            }
            Err(fault) => {
                if !engine.down {
                    warn!(runtime = %kind, error = fault.message, "runtime does not answer");
                }
                engine.failed(now);
                for unit in self.units.values_mut() {
                    if unit.runtime.as_ref() == Some(&kind) && unit.busy.is_none() {
                        unit.lose_sight(&fault);
                    }
                }
            }
        }
        self.advance(now);
    }

    /// Notes what a listing does not show. It says nothing of instances that belong to another runtime.
    fn miss(&mut self, listed: &RuntimeKind, named: &BTreeSet<AssignmentId>, since: u64, now: Now) {
        let missing: Vec<AssignmentId> = self
            .units
            .values()
            .filter(|unit| unit.busy.is_none() && unit.fresh <= since)
            .filter(|unit| {
                let kind = unit.runtime.as_ref();
                kind == Some(listed) || !self.is_offered(kind)
            })
            .map(Unit::id)
            .filter(|id| !named.contains(id))
            .collect();
        for id in missing {
            let Some(unit) = self.units.get(&id) else {
                continue;
            };
            let runtime = unit.runtime.clone();
            // Where the runtime of something that was started is not offered any more, nobody can tell.
            let hidden = unit.entry.status.touched && !self.is_offered(runtime.as_ref());
            if hidden || self.first_sight(runtime.as_ref()) != Seen::Absent {
                continue;
            }
            if let Some(unit) = self.units.get_mut(&id) {
                let kind = runtime.unwrap_or_else(|| RuntimeKind::new(""));
                unit.see(&kind, Sight::absent(), now);
            }
        }
    }

    /// Takes how the work of [`super::Effect::Run`] ended.
    pub fn finished(&mut self, id: AssignmentId, outcome: Outcome, now: Now) {
        self.serial += 1;
        if self.sweeping.remove(&id) {
            match outcome {
                Outcome::Fault(fault) => {
                    warn!(instance = %id, error = fault.message, "a leftover could not be removed");
                }
                Outcome::Seen(_) | Outcome::Tail(_) => {
                    self.leftovers.remove(&id);
                }
            }
        } else {
            self.finish(id, outcome, now);
        }
        self.advance(now);
    }

    fn finish(&mut self, id: AssignmentId, outcome: Outcome, now: Now) {
        let Some(unit) = self.units.get_mut(&id) else {
            return;
        };
        let Some(busy) = unit.busy.take() else {
            return;
        };
        unit.fresh = self.serial;
        match outcome {
            Outcome::Seen(sight) => {
                if matches!(busy.kind, OpKind::Restart(_)) {
                    unit.change(|_, status| status.restarted = busy.restart_count);
                }
                if let Some(kind) = unit.runtime.clone() {
                    unit.see(&kind, sight, now);
                }
            }
            Outcome::Tail(bytes) => {
                let from = bytes.len().saturating_sub(TAIL_BYTES);
                let last = bytes.get(from..).unwrap_or_default().to_vec();
                unit.change(|_, status| status.output_tail = last);
            }
            Outcome::Fault(fault) => {
                debug!(instance = %id, reason = fault.reason, error = fault.message, "work on an instance failed");
                let spec = self.specs.get(&unit.entry.order.spec_hash);
                let policy = spec.and_then(|s| s.as_ref().ok()).map(|s| s.restart);
                failed(unit, &busy, &fault, policy.unwrap_or_default(), now);
            }
        }
    }
}

/// What a failure means depends on what was attempted. How the instance stands is unknown after it.
fn failed(unit: &mut Unit, busy: &Busy, fault: &Fault, policy: RestartPolicy, now: Now) {
    if matches!(busy.kind, OpKind::Tail) {
        return;
    }
    unit.seen = Seen::Unknown;
    match (&busy.kind, fault.class) {
        (_, FaultClass::Cancelled) => {}
        (OpKind::Look, _) => {
            unit.lose_sight(fault);
            unit.try_later(now);
        }
        (OpKind::Ensure(_), FaultClass::Unsupported)
            if unit.entry.status.running_since.is_none()
                && unit.entry.status.restarts == 0
                && unit.entry.order.desired != Desired::Stop =>
        {
            let rejection = Rejection {
                reason: RejectionReason::Unsupported,
                message: fault.message.clone(),
            };
            unit.change(|_, status| status.rejection = Some(rejection));
        }
        (_, FaultClass::Gone) => unit.try_later(now),
        (OpKind::Ensure(_) | OpKind::Rerun(_), _) => {
            let rerun = matches!(busy.kind, OpKind::Rerun(_));
            start_failed(unit, fault, policy, rerun, now);
        }
        (
            OpKind::Restart(_)
            | OpKind::Stop { .. }
            | OpKind::Pause
            | OpKind::Resume
            | OpKind::Tail,
            _,
        ) => {
            unit.try_later(now);
            unit.change(|_, status| {
                status.reason.clone_from(&fault.reason);
                status.message.clone_from(&fault.message);
            });
        }
    }
}

/// A start that failed is tried again with growing pauses, as an end is; only a job that is never started again fails for
/// good, and only of what will not pass by itself.
fn start_failed(unit: &mut Unit, fault: &Fault, policy: RestartPolicy, rerun: bool, now: Now) {
    unit.change(|_, status| {
        status.reason.clone_from(&fault.reason);
        status.message.clone_from(&fault.message);
        if rerun {
            status.restarts = status.restarts.saturating_sub(1);
        }
        let lasts = matches!(fault.class, FaultClass::Permanent | FaultClass::Unsupported);
        if lasts && policy == RestartPolicy::Never {
            step(status, Event::EndedBadly);
            status.not_before = None;
            return;
        }
        status.failures = status.failures.saturating_add(1);
        status.not_before = Some(now.wall + backoff::wait(status.failures));
        step(status, Event::WillRestart);
    });
}
