//! One run: gather, plan every application, carry the plans out, commit.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    ids::{AppUid, AssignmentId, SlotId},
    plan::{
        copies::Silence,
        tier::{self, Action, Input},
    },
    plant::{self, Plant},
    records::{Application, CandidateReasons, Desired, Event, Owner, Slot},
    resources::Resources,
    spec::Mode,
    time::Time,
};
use edgeio_scheduler::Pool;
use edgeio_store::{Fence, Meta, Write, WriteTx};
use tracing::{debug, info};
use uuid::Uuid;

use super::{
    EngineError, Outcome,
    demands::Demands,
    found,
    gather::Gathered,
    place::{self, Siblings},
};
use crate::context::Context;

pub(super) async fn run(
    context: &Context,
    demands: &mut Demands,
    fence: Fence,
) -> Result<Outcome, EngineError> {
    let mut tx = context.store.write().await?;
    tx.fence(fence);
    let mut gathered = Gathered::read(&*tx, context.own).await?;
    demands.load(&*tx, &gathered.hashes()).await?;
    #[cfg(feature = "plant")]
    plants::offers_of_before(context, demands, &mut gathered.children);
    let minted = if plant::on(Plant::ReuseInstanceId) {
        Some(tx.meta().await?)
    } else {
        None
    };
    let now = context.clock.wall();
    let found = found::take_over(
        context.own,
        &gathered.applications,
        &mut gathered.slots,
        &mut gathered.assignments,
        now,
    );
    let slot_of = |id: &SlotId| Some((*id, gathered.slots.get(id)?.clone()));
    let slots = found.iter().filter_map(slot_of).collect();
    let mut act = Act {
        context,
        demands,
        pool: gathered.pool(context.noun, demands),
        siblings: Siblings::new(),
        gathered: &gathered,
        slots,
        found: found.into_iter().collect(),
        writes: Vec::new(),
        again: None,
        minted,
        now,
    };
    let silence = Silence {
        children: &gathered.children,
        terms: demands.terms(),
        lease: (context.own != Owner::Root).then_some(context.times.lease),
    };
    for (uid, slots) in gathered.views() {
        let application = gathered.applications.get(&uid);
        let owned = application.is_some_and(|a| a.key.owner == context.own);
        let wants = application.map_or_else(Vec::new, |a| resources(a, demands));
        let input = Input {
            application,
            owned,
            slots,
            demands: &wants,
            silence: &silence,
            now,
        };
        for action in tier::plan(&input, &*context.ids) {
            act.carry_out(uid, action);
        }
    }
    let (writes, again) = act.finish();
    let count = writes.len();
    stage(&mut *tx, writes);
    if !tx.is_empty() {
        let revision = tx.commit().await?;
        debug!(writes = count, revision, "plan committed");
    }
    Ok(Outcome {
        writes: count,
        again,
        ..Outcome::default()
    })
}

fn resources(application: &Application, demands: &Demands) -> Vec<Resources> {
    let of = |hash| {
        demands
            .get(hash)
            .map(|demand| demand.resources)
            .unwrap_or_default()
    };
    application
        .services
        .iter()
        .map(|service| of(service.spec_hash))
        .collect()
}

fn stage(tx: &mut dyn WriteTx, writes: Vec<Write>) {
    for write in writes {
        tx.stage(write);
    }
}

/// Carries plans out.
struct Act<'a> {
    context: &'a Context,
    demands: &'a Demands,
    pool: Pool,
    siblings: Siblings,
    gathered: &'a Gathered,
    /// Slots that changed, in their newest form.
    slots: BTreeMap<SlotId, Slot>,
    /// Slots that are not recorded yet, because what fills them was found.
    found: BTreeSet<SlotId>,
    writes: Vec<Write>,
    again: Option<Time>,
    /// For a planted bug: what ids are counted by.
    minted: Option<Meta>,
    now: Time,
}

impl Act<'_> {
    fn carry_out(&mut self, uid: AppUid, action: Action) {
        match action {
            Action::MakeSlot(slot) | Action::ChangeSlot(slot) => {
                self.slots.insert(slot.id, slot);
            }
            Action::RemoveSlot(id) => {
                self.writes.push(Write::DeleteSlot(id));
                // Whatever is found of it later, at a worker that was put back to an older copy of its disk, is stopped
                // and not held: a user has decided about it.
                self.writes.push(Write::PutTombstone(id.0, self.now));
            }
            Action::Place(slot) => {
                if let Some((slot, reasons)) = self.place(slot) {
                    self.pending(slot, reasons);
                }
            }
            Action::Substitute { slot, stop } => self.substitute(slot, &stop),
            Action::Order {
                id,
                desired,
                restart_count,
                why,
            } => self.order(id, desired, restart_count, why),
            Action::RemoveApplication => self.writes.push(Write::DeleteApplication(uid)),
            Action::Wait(at) => self.wake(at),
        }
    }

    fn mint(&self) -> Uuid {
        match &self.minted {
            None => self.context.ids.next(),
            Some(meta) => {
                let (database, _) = meta.lineage.0.as_u64_pair();
                let (_, more) = meta.lineage.0.as_u64_pair();
                let count = (meta.revision << 16) | self.writes.len() as u64;
                Uuid::from_u64_pair(database ^ more.rotate_left(32), count)
            }
        }
    }

    fn wake(&mut self, at: Time) {
        self.again = Some(self.again.map_or(at, |before| before.min(at)));
    }

    /// Starts a substitute, and stops what it replaces in the same transaction. Without a place nothing is stopped.
    fn substitute(&mut self, slot: Slot, stop: &[AssignmentId]) {
        let (app, service, ordinal) = (slot.app.clone(), slot.service.clone(), slot.ordinal);
        match self.place(slot) {
            None => {
                self.writes.push(Write::PutEvent(Event {
                    at: self.now,
                    namespace: app.namespace.to_string(),
                    subject: format!("application/{}", app.name),
                    reason: "Substituted".to_owned(),
                    message: format!("{service}/{ordinal} cannot be heard and gets a substitute"),
                }));
                for id in stop {
                    let restarts = self.gathered.assignments.get(id);
                    let restarts = restarts.map_or(0, |a| a.restart_count);
                    self.order(*id, Desired::Stop, restarts, tier::Why::Replaced);
                }
            }
            // The parent has other places: it may start one while this one cannot be heard.
            Some((slot, reasons)) if self.may_hand_back(&slot) => self.pending(slot, reasons),
            Some((mut slot, reasons)) => {
                if let Some(at) = place::next_try(&slot, self.now) {
                    self.wake(at);
                }
                if slot.pending != reasons {
                    slot.pending = reasons;
                    self.slots.insert(slot.id, slot);
                }
            }
        }
    }

    /// Finds a place; if there is none, answers the slot and why.
    fn place(&mut self, slot: Slot) -> Option<(Slot, Vec<CandidateReasons>)> {
        let mut slot = self.slots.remove(&slot.id).unwrap_or(slot);
        let key = (slot.app_uid, slot.service.as_str().to_owned());
        let gathered = self.gathered;
        let siblings = self
            .siblings
            .entry(key)
            .or_insert_with_key(|(uid, service)| gathered.siblings(*uid, service));
        match place::place(&slot, &mut self.pool, self.demands, siblings, self.now) {
            Ok(child) => {
                *siblings.entry(child).or_default() += 1;
                let id = AssignmentId(self.mint());
                let assignment = place::assignment(&slot, child, id, self.now);
                info!(application = %slot.app.name, service = %slot.service, ordinal = slot.ordinal, instance = %id, %child, "placed");
                self.writes.push(Write::PutAssignment {
                    assignment,
                    ordered: true,
                });
                let known =
                    self.gathered.slots.contains_key(&slot.id) && !self.found.contains(&slot.id);
                // A slot that was handed back runs here after all when there is room, for as long as the parent has not
                // taken it away: the parent may be out of reach.
                let returned = slot.upstream.as_mut().and_then(|up| up.returned.take());
                if !slot.pending.is_empty() || !known || returned.is_some() {
                    slot.pending.clear();
                    self.slots.insert(slot.id, slot);
                }
                None
            }
            Err(reasons) => Some((slot, reasons)),
        }
    }

    /// Keeps the reasons, and hands a slot of the parent back once it had no place for a while.
    fn pending(&mut self, mut slot: Slot, reasons: Vec<CandidateReasons>) {
        if let Some(at) = place::next_try(&slot, self.now) {
            self.wake(at);
        }
        let give_up =
            slot.created_at.max(self.waiting_since(&slot)) + self.context.times.return_after;
        if slot.upstream.is_some() {
            if self.now < give_up {
                self.wake(give_up);
            } else if let Some(upstream) = &mut slot.upstream {
                // Said once: what keeps it waiting is told with the candidates.
                upstream.returned.get_or_insert_with(|| summary(&reasons));
            }
        }
        let before = self.gathered.slots.get(&slot.id);
        slot.pending = reasons;
        if before != Some(&slot) || self.found.contains(&slot.id) {
            self.slots.insert(slot.id, slot);
        }
    }

    /// Whether the parent may start a substitute for what is silent here. Of an exclusive service it may not: only this tier
    /// knows when it has surely stopped.
    fn may_hand_back(&self, slot: &Slot) -> bool {
        let terms = self.demands.terms().get(&slot.spec_hash);
        slot.upstream.is_some() && terms.is_some_and(|t| t.disconnect.mode == Mode::Available)
    }

    /// Since when a slot is without a place: since the last of the children that are left alone refused it for the first
    /// time, or since one that was left alone could be asked again.
    fn waiting_since(&self, slot: &Slot) -> Time {
        let times = self.context.times;
        slot.refusals
            .iter()
            .map(|r| {
                if self.now < r.until {
                    r.until - times.refusal_waits(r.times)
                } else {
                    r.until
                }
            })
            .max()
            .unwrap_or(slot.created_at)
    }

    fn order(&mut self, id: AssignmentId, desired: Desired, restart_count: u32, why: tier::Why) {
        let Some(mut assignment) = self.gathered.assignments.get(&id).cloned() else {
            return;
        };
        assignment.generation += 1;
        assignment.restart_count = restart_count;
        // What was found running was recorded before anybody knew its spec.
        if let Ok(demand) = self.demands.get(assignment.spec_hash) {
            assignment.demand = demand.resources;
        }
        if desired == Desired::Stop {
            info!(application = %assignment.app.name, service = %assignment.service, ordinal = assignment.ordinal, instance = %id, why = why.sentence(), "stop ordered");
            self.writes.push(Write::PutEvent(Event {
                at: self.now,
                namespace: assignment.app.namespace.to_string(),
                subject: format!("application/{}", assignment.app.name),
                reason: format!("{why:?}"),
                message: format!(
                    "{}/{} is stopped: {}",
                    assignment.service,
                    assignment.ordinal,
                    why.sentence()
                ),
            }));
        }
        assignment.desired = desired;
        self.writes.push(Write::PutAssignment {
            assignment,
            ordered: true,
        });
    }

    fn finish(mut self) -> (Vec<Write>, Option<Time>) {
        let removed: BTreeSet<SlotId> = self
            .writes
            .iter()
            .filter_map(|write| {
                if let Write::DeleteSlot(id) = write {
                    Some(*id)
                } else {
                    None
                }
            })
            .collect();
        let slots = self
            .slots
            .into_values()
            .filter(|slot| !removed.contains(&slot.id))
            .map(Write::PutSlot);
        // Slots come first, so that an assignment never refers to one that is not there.
        let mut writes: Vec<Write> = slots.collect();
        writes.append(&mut self.writes);
        (writes, self.again)
    }
}

fn summary(reasons: &[CandidateReasons]) -> String {
    let line = |r: &CandidateReasons| format!("{} {}", r.candidate, r.reasons.join(", "));
    let mut lines: Vec<String> = reasons.iter().take(5).map(line).collect();
    if reasons.len() > 5 {
        lines.push(format!("and {} more", reasons.len() - 5));
    }
    lines.join("; ")
}

#[cfg(feature = "plant")]
mod plants {
    use std::{collections::BTreeMap, time::Duration};

    use edgeio_domain::{
        child::Child,
        ids::ChildId,
        plant::{self, Plant},
    };

    use super::{Context, Demands};

    /// How long an offer that was read before is taken for the newest.
    const STALE: Duration = Duration::from_secs(30);

    /// Replaces what children offer now by what was read in an earlier transaction.
    pub(super) fn offers_of_before(
        context: &Context,
        demands: &mut Demands,
        children: &mut BTreeMap<ChildId, Child>,
    ) {
        if !plant::on(Plant::CapacityOutside) {
            return;
        }
        let now = context.clock.boot();
        for (id, child) in children {
            let (offer, at) = demands
                .offers
                .entry(*id)
                .or_insert_with(|| (child.capacity.clone(), now));
            if now.since(*at) >= STALE {
                (*offer, *at) = (child.capacity.clone(), now);
            }
            child.capacity = offer.clone();
        }
    }
}
