//! One round: list, plan every instance, make durable what has to be, then let the effects out.

use std::time::Duration;

use edgeio_domain::{
    backoff, digest,
    ids::{AssignmentId, SpecHash},
    lifecycle::{Event, Phase},
    node::Entry,
    plan::{
        instance::{Exit, Seen, Step, plan},
        lease::Lease,
    },
    plant::{self, Plant},
    records::Desired,
    spec::{DEFAULT_STOP_GRACE, ServiceSpec},
    time::Time,
};
use edgeio_link::{child::View, convert};
use edgeio_proto::link::v1;
use tracing::{debug, info, warn};

use super::{
    Node, Now,
    job::{choose, job},
    lease::{self, LEASE_EXPIRED, NO_LEASE},
    types::{Effect, Op, OpKind},
    unit::{Busy, Unit, step},
};
use crate::{ledger::Batch, runtime::JobSpec};

/// How long a stopped id is remembered at least. A parent that was restored from a backup may order what it had before.
const TOMBSTONE_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// So many stopped ids are remembered whatever their age, since a wall clock may jump by years when a machine without a
/// battery finds its time. Each takes some 40 bytes.
const TOMBSTONES: usize = 2048;

impl Node {
    /// Does all that can be done now.
    pub(super) fn advance(&mut self, now: Now) {
        let before = std::mem::replace(&mut self.acted, now).boot;
        self.lapse(before, now);
        #[cfg(feature = "plant")]
        self.count_sleep(before, now);
        for (kind, engine) in &mut self.engines {
            if engine.ask(self.serial, now) {
                self.effects.push(Effect::List(kind.clone()));
            }
        }
        let ids: Vec<AssignmentId> = self.units.keys().copied().collect();
        let mut wanted = Vec::new();
        for id in ids {
            if let Some(kind) = self.next(id, now) {
                wanted.push((id, kind));
            }
        }
        let durable = self.flush(now);
        for (id, kind) in wanted {
            // What starts something must be noted first; what stops something was noted when it was ordered.
            let starts = matches!(
                kind,
                OpKind::Ensure(_) | OpKind::Rerun(_) | OpKind::Restart(_)
            );
            if durable || !starts {
                self.begin(id, kind);
            } else if let Some(unit) = self.units.get_mut(&id) {
                unit.unplan();
            }
        }
        self.sweep();
        self.drop_recorded(now);
        self.talk(now);
    }

    /// The next piece of work for an instance, if there is one to begin now.
    fn next(&mut self, id: AssignmentId, now: Now) -> Option<OpKind> {
        let renewed = self.renewed();
        let judged_at = self.lease_time(now);
        let unit = self.units.get_mut(&id)?;
        let spec = self.specs.get(&unit.entry.order.spec_hash);
        let spec = spec.and_then(|spec| spec.as_ref().ok()).cloned();
        let stop = unit.entry.order.desired == Desired::Stop;
        let lease = lease::of(spec.as_deref(), renewed, judged_at);
        if let Some(busy) = &mut unit.busy {
            let long = matches!(
                busy.kind,
                OpKind::Ensure(_) | OpKind::Rerun(_) | OpKind::Restart(_)
            );
            let unwanted = stop || lease == Lease::Missing;
            if unwanted && long && !std::mem::replace(&mut busy.cancelled, true) {
                self.effects.push(Effect::Cancel(id));
            }
            return None;
        }
        if unit.wait.is_some_and(|at| now.boot < at) {
            return None;
        }
        unit.wait = None;
        let engine = unit
            .runtime
            .as_ref()
            .and_then(|kind| self.engines.get(kind));
        let answers = engine.is_some_and(|engine| engine.listed && !engine.down);
        if unit.look && !stop && answers {
            unit.look = false;
            return Some(OpKind::Look);
        }
        if unit.seen == Seen::Unknown {
            if engine.is_none() && unit.entry.status.touched {
                unit.change(|_, status| {
                    "RuntimeMissing".clone_into(&mut status.reason);
                    "the runtime that it was started in is not there any more: it may still run"
                        .clone_into(&mut status.message);
                });
            }
            // A runtime that was not listed yet, or did not answer, is listed soon; that shows all of its instances at once.
            return answers.then_some(OpKind::Look);
        }
        if spec.is_none() && !stop {
            if !unit.entry.status.touched && unit.entry.status.rejection.is_none() {
                unit.change(|_, status| {
                    "SpecMissing".clone_into(&mut status.reason);
                    "its spec has not arrived yet".clone_into(&mut status.message);
                });
            }
            return None;
        }
        let until = match lease {
            Lease::Held { until } => Some(lease::since_boot(until)),
            Lease::Free | Lease::Missing => None,
        };
        let policy = spec.as_ref().map(|spec| spec.restart).unwrap_or_default();
        let make = |entry: &Entry, spec: Option<&ServiceSpec>| -> Option<Box<JobSpec>> {
            let digest = &entry.status.image_digest;
            Some(Box::new(job(
                &entry.order,
                spec?,
                digest,
                self.cluster,
                self.worker.0,
                until,
            )))
        };
        // Steps that only note something lead to another one at once; three are the most there can be in a row.
        for _ in 0..4 {
            let planned = plan(&unit.entry, policy, &unit.seen, now.wall);
            match lease.govern(unit.entry.order.desired, &unit.seen, planned) {
                Step::Observe => {
                    unit.recover(now);
                    return unit.tail_op();
                }
                Step::Wait(_) => return unit.tail_op(),
                Step::Look => return None,
                Step::Start => {
                    if unit.runtime.is_none() {
                        unit.runtime = spec
                            .as_deref()
                            .and_then(|s| choose(s, self.engines.values().map(|e| &e.offer)));
                    }
                    // No engine can have it now: asked again when one offers.
                    let runtime = unit.runtime.clone()?;
                    unit.plan_start();
                    unit.change(|order, status| {
                        status.touched = true;
                        runtime.as_str().clone_into(&mut status.runtime);
                        status.restarted = order.restart_count;
                        status.not_before = None;
                        step(status, Event::Begun);
                    });
                    return make(&unit.entry, spec.as_deref()).map(OpKind::Ensure);
                }
                Step::Rerun => {
                    unit.plan_start();
                    unit.change(|_, status| {
                        status.restarts = status.restarts.saturating_add(1);
                        status.not_before = None;
                        status.running_since = None;
                    });
                    return make(&unit.entry, spec.as_deref()).map(OpKind::Rerun);
                }
                Step::Restart => {
                    unit.plan_start();
                    unit.change(|_, status| {
                        step(status, Event::RestartAsked);
                        "Restarting".clone_into(&mut status.reason);
                        status.message.clear();
                        status.failures = 0;
                        status.not_before = None;
                        status.running_since = None;
                    });
                    return make(&unit.entry, spec.as_deref()).map(OpKind::Restart);
                }
                Step::Schedule { at, exit, failures } => {
                    unit.schedule(at, &exit, failures, now);
                }
                Step::End { well, exit } => unit.end(well, &exit),
                Step::Stop => {
                    unit.change(|_, status| {
                        // A stop that does not succeed keeps saying why.
                        if status.phase != Phase::Stopping {
                            status.reason.clear();
                            status.message.clear();
                        }
                        step(status, Event::StopAsked);
                    });
                    let grace = spec.as_ref().map_or(DEFAULT_STOP_GRACE, |s| s.stop_grace);
                    return Some(OpKind::Stop { grace });
                }
                Step::Settle => unit.change(|_, status| {
                    step(status, Event::StopAsked);
                    step(status, Event::Gone);
                    status.reason.clear();
                    status.message.clear();
                    status.running_since = None;
                    status.not_before = None;
                }),
                Step::Yield => {
                    unit.give_way();
                    let grace = spec.as_ref().map_or(DEFAULT_STOP_GRACE, |s| s.stop_grace);
                    return Some(OpKind::Stop { grace });
                }
                Step::Await => {
                    unit.await_lease();
                    return unit.tail_op();
                }
                Step::Pause => return Some(OpKind::Pause),
                Step::Resume => return Some(OpKind::Resume),
            }
        }
        None
    }

    /// Lets a piece of work out.
    fn begin(&mut self, id: AssignmentId, kind: OpKind) {
        let Some(unit) = self.units.get_mut(&id) else {
            return;
        };
        let Some(runtime) = unit.runtime.clone() else {
            return;
        };
        unit.planned = None;
        unit.busy = Some(Busy {
            kind: kind.clone(),
            restart_count: unit.entry.order.restart_count,
            cancelled: false,
        });
        debug!(instance = %id, runtime = %runtime, work = ?std::mem::discriminant(&kind), "work begins");
        self.effects.push(Effect::Run(Op { id, runtime, kind }));
    }

    /// Makes changed entries durable. Whether nothing is left to be written.
    fn flush(&mut self, now: Now) -> bool {
        if self.ledger_again.is_some_and(|at| now.boot < at) {
            return false;
        }
        let put: Vec<Entry> = self
            .units
            .values()
            .filter(|unit| unit.dirty)
            .map(|unit| unit.entry.clone())
            .collect();
        let renewal = self.renewal_to_write();
        if put.is_empty() && renewal.is_none() {
            self.ledger_again = None;
            return true;
        }
        let batch = Batch {
            put,
            renewal: renewal.clone(),
            ..Batch::default()
        };
        if let Err(fault) = self.save(batch) {
            self.ledger_failed(&fault, now);
            return false;
        }
        self.ledger_again = None;
        if let Some(renewal) = &renewal {
            self.leases.wrote(renewal);
        }
        for unit in self.units.values_mut() {
            unit.dirty = false;
        }
        true
    }

    /// Removes what runtimes still have of instances that were stopped for good.
    fn sweep(&mut self) {
        let stopped: Vec<_> = self
            .leftovers
            .iter()
            .filter(|(id, _)| self.tombstones.contains_key(id) && !self.units.contains_key(id))
            .filter(|(id, _)| !self.sweeping.contains(id))
            .map(|(id, (kind, _))| (*id, kind.clone()))
            .collect();
        for (id, runtime) in stopped {
            info!(instance = %id, runtime = %runtime, "removing what is left of a stopped instance");
            self.sweeping.insert(id);
            self.leftovers.remove(&id);
            let kind = OpKind::Stop {
                grace: DEFAULT_STOP_GRACE,
            };
            self.effects.push(Effect::Run(Op { id, runtime, kind }));
        }
    }

    /// Forgets stopped instances whose end the parent has recorded; their ids stay.
    fn drop_recorded(&mut self, now: Now) {
        if self.ledger_again.is_some() {
            return;
        }
        let done: Vec<AssignmentId> = self
            .units
            .values()
            .filter(|unit| unit.entry.status.phase == Phase::Stopped && unit.busy.is_none())
            .filter(|unit| self.child.is_recorded(unit.id(), unit.version))
            .map(Unit::id)
            .collect();
        if done.is_empty() {
            return;
        }
        let named = |hash: &SpecHash| {
            self.units
                .values()
                .any(|unit| unit.entry.order.spec_hash == *hash && !done.contains(&unit.id()))
        };
        let drop_specs: Vec<SpecHash> = self.specs.keys().filter(|h| !named(h)).copied().collect();
        let unbury = self.old_tombstones(done.len(), now);
        let batch = Batch {
            remove: done.clone(),
            bury: done
                .iter()
                .filter(|_| !plant::on(Plant::DropTombstoneAtAck))
                .map(|id| (*id, now.wall))
                .collect(),
            drop_specs: drop_specs.clone(),
            unbury: unbury.clone(),
            ..Batch::default()
        };
        if let Err(fault) = self.save(batch) {
            self.ledger_failed(&fault, now);
            return;
        }
        for hash in &drop_specs {
            self.specs.remove(hash);
        }
        for id in &unbury {
            self.tombstones.remove(id);
        }
        for id in done {
            self.child.forget(id);
            self.units.remove(&id);
            if !plant::on(Plant::DropTombstoneAtAck) {
                self.tombstones.insert(id, now.wall);
            }
        }
    }

    /// The oldest stopped ids, as far as they are old and too many.
    fn old_tombstones(&self, more: usize, now: Now) -> Vec<AssignmentId> {
        let excess = (self.tombstones.len() + more).saturating_sub(TOMBSTONES);
        if excess == 0 {
            return Vec::new();
        }
        let mut by_age: Vec<(Time, AssignmentId)> =
            self.tombstones.iter().map(|(id, at)| (*at, *id)).collect();
        by_age.sort_unstable();
        by_age
            .into_iter()
            .take(excess)
            .filter(|(at, _)| now.wall.since(*at) > TOMBSTONE_AGE)
            .map(|(_, id)| id)
            .collect()
    }

    /// The specs that the cluster asked for: it lost them, or never had them. Their bytes are in the ledger only.
    fn asked_specs(&mut self) -> Vec<v1::Spec> {
        let wanted = self.child.wanted_specs();
        if wanted.is_empty() {
            return Vec::new();
        }
        match self.ledger.load() {
            Ok(durable) => wanted
                .iter()
                .filter_map(|hash| {
                    Some(v1::Spec {
                        hash: hash.0.to_vec(),
                        body: durable.specs.get(hash)?.clone(),
                    })
                })
                .collect(),
            Err(fault) => {
                warn!(error = %edgeio_server::status::chain(&fault), "specs that the cluster asked for cannot be read");
                Vec::new()
            }
        }
    }

    /// Says what is to be said to the parent.
    fn talk(&mut self, now: Now) {
        if self.child.is_silent(now.boot) && !std::mem::replace(&mut self.told, true) {
            self.effects.push(Effect::Reattach);
        }
        let within = self.renew_within();
        self.child.hasten(within);
        let Some(due) = self.child.due(now.boot) else {
            return;
        };
        let states: Vec<_> = self.units.values().map(|u| (u.id(), u.version)).collect();
        if due > now.boot && !self.child.is_open() {
            return;
        }
        let asked = self.asked_specs();
        let specs = &self.specs;
        let units = &self.units;
        // An order whose spec is missing does not count as held, nor does an orphan: a digest that differs brings a snapshot.
        let whole =
            |entry: &&Entry| !entry.status.orphan && specs.contains_key(&entry.order.spec_hash);
        let entries = || units.values().map(|unit| &unit.entry);
        let assignments = digest::assignments(entries().filter(whole).map(|e| {
            let order = &e.order;
            (
                order.id,
                order.generation,
                order.desired,
                order.restart_count,
            )
        }));
        let reported = |entry: &&Entry| entry.order.desired != Desired::Stop;
        let digest = digest::states(
            entries()
                .filter(reported)
                .map(|e| (e.order.id, e.status.phase, e.status.restarts)),
        );
        let render = |id: AssignmentId| {
            let unit = units.get(&id)?;
            Some(convert::report_of_status(&unit.entry, now.wall))
        };
        let view = View {
            states: &states,
            assignments,
            digest,
            render: &render,
            capacity: (self.capacity.0, &self.capacity.1),
            owned: None,
            specs: &asked,
        };
        let messages = self.child.poll(&view, now.boot);
        self.effects.extend(messages.into_iter().map(Effect::Send));
    }
}

impl Unit {
    /// Reads the last output where that is wanted and there is any.
    fn tail_op(&mut self) -> Option<OpKind> {
        let readable = matches!(self.seen, Seen::Exited(_));
        (std::mem::take(&mut self.tail) && readable).then_some(OpKind::Tail)
    }

    /// It ended and is started again later.
    fn schedule(&mut self, at: Time, exit: &Exit, failures: u32, now: Now) {
        self.tail = exit.code != 0;
        let gone = self.seen == Seen::Absent;
        let wait = at.since(now.wall).as_secs_f64();
        self.change(|_, status| {
            status.note(exit, gone);
            status.message = format!("{}; it is started again after {wait} s", status.message);
            if gone {
                status.restarts = status.restarts.saturating_add(1);
            }
            status.failures = failures;
            status.not_before = Some(at);
            step(status, Event::WillRestart);
        });
    }

    /// It may run no longer and is stopped, which is no end of it.
    fn give_way(&mut self) {
        self.change(|_, status| {
            // A stop that does not succeed keeps saying why.
            if status.phase != Phase::Preparing || status.reason.is_empty() {
                LEASE_EXPIRED.clone_into(&mut status.reason);
                "the cluster was not heard for stop_after: it was stopped, so that a substitute may start, and starts again when the cluster is heard"
                    .clone_into(&mut status.message);
            }
            step(status, Event::WillRestart);
            status.running_since = None;
            status.not_before = None;
        });
    }

    /// It is not started before its cluster is heard.
    fn await_lease(&mut self) {
        self.change(|_, status| {
            if status.phase.is_terminal() || status.reason == LEASE_EXPIRED {
                return;
            }
            step(status, Event::Begun);
            NO_LEASE.clone_into(&mut status.reason);
            "it is exclusive and waits for a word of its cluster: a substitute may run elsewhere"
                .clone_into(&mut status.message);
        });
    }

    /// A healthy spell forgets the failures before it, so that what ends it is not waited for as a failure in a row.
    fn recover(&mut self, now: Now) {
        let since = self.entry.status.running_since;
        let healthy = since.is_some_and(|at| now.wall.since(at) >= backoff::HEALTHY);
        if healthy && self.seen == Seen::Running && self.entry.status.failures > 0 {
            self.change(|_, status| status.failures = 0);
        }
    }

    /// It ended for good.
    fn end(&mut self, well: bool, exit: &Exit) {
        self.tail = !well;
        let gone = self.seen == Seen::Absent;
        self.change(|_, status| {
            status.note(exit, gone);
            status.not_before = None;
            step(
                status,
                if well {
                    Event::EndedWell
                } else {
                    Event::EndedBadly
                },
            );
        });
    }
}

/// Words for how a run ended.
trait Note {
    fn note(&mut self, exit: &Exit, gone: bool);
}

impl Note for edgeio_domain::node::Status {
    fn note(&mut self, exit: &Exit, gone: bool) {
        let word = if gone { "Vanished" } else { "Exited" };
        word.clone_into(&mut self.reason);
        self.message = match (gone, exit.message.as_str()) {
            (true, message) => message.to_owned(),
            (false, "") => format!("it ended with exit code {}", exit.code),
            (false, message) => format!("it ended with exit code {}: {message}", exit.code),
        };
        self.exit_code = Some(exit.code);
        self.running_since = None;
        self.output_tail.clear();
    }
}
