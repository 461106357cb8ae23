//! Which slots an application shall have: replicas, retirement and the step-wise move to a new spec.

use crate::{
    ids::{IdSource, SlotId},
    lifecycle::Phase,
    plan::{
        copies::{self, Silence},
        tier::{Action, Input},
    },
    records::{Application, Assignment, Desired, Service, Slot},
    resources::Resources,
};

type Wanted<'a> = Vec<(Slot, Vec<&'a Assignment>)>;

/// Changes `wanted` to what the application asks for, and returns the actions that make it so.
pub(super) fn shape<'a>(
    input: &Input<'a>,
    ids: &dyn IdSource,
    wanted: &mut Wanted<'a>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let Some(application) = input.application else {
        return actions;
    };
    let live = |slot: &Slot| slot.desired != Desired::Stop;
    let services: &[Service] = if application.deleted_at.is_some() {
        &[]
    } else {
        &application.services
    };
    for (slot, _) in wanted.iter_mut().filter(|(slot, _)| live(slot)) {
        if !services.iter().any(|service| service.name == slot.service) {
            retire(slot, &mut actions);
        }
    }
    for (index, service) in services.iter().enumerate() {
        let demand = input.demands.get(index).copied().unwrap_or_default();
        shrink(service, wanted, input.silence, &mut actions);
        renew(service, demand, wanted, input.silence, &mut actions);
        grow(
            application,
            service,
            demand,
            input,
            ids,
            wanted,
            &mut actions,
        );
    }
    actions
}

fn retire(slot: &mut Slot, actions: &mut Vec<Action>) {
    slot.desired = Desired::Stop;
    slot.pending.clear();
    actions.push(Action::ChangeSlot(slot.clone()));
}

/// Takes what does not run first, then the highest ordinal.
fn shrink(
    service: &Service,
    wanted: &mut Wanted<'_>,
    silence: &Silence<'_>,
    actions: &mut Vec<Action>,
) {
    let mut order: Vec<(bool, u32, SlotId)> = wanted
        .iter()
        .filter(|(slot, _)| slot.service == service.name && slot.desired != Desired::Stop)
        .map(|(slot, assignments)| (runs(slot, assignments, silence), slot.ordinal, slot.id))
        .collect();
    let excess = order.len().saturating_sub(service.replicas as usize);
    order.sort_by_key(|(runs, ordinal, id)| (*runs, std::cmp::Reverse(*ordinal), *id));
    let victims: Vec<SlotId> = order
        .into_iter()
        .take(excess)
        .map(|(_, _, id)| id)
        .collect();
    for (slot, _) in wanted
        .iter_mut()
        .filter(|(slot, _)| victims.contains(&slot.id))
    {
        retire(slot, actions);
    }
}

/// Moves slots to the service's spec: at once those that do not run, of the others one at a time, the lowest ordinal
/// first, and only while everything else runs. So a spec that cannot run costs one replica and not the service.
fn renew(
    service: &Service,
    demand: Resources,
    wanted: &mut Wanted<'_>,
    silence: &Silence<'_>,
    actions: &mut Vec<Action>,
) {
    let mut of_service: Vec<&mut (Slot, Vec<&Assignment>)> = wanted
        .iter_mut()
        .filter(|(slot, _)| slot.service == service.name && slot.desired != Desired::Stop)
        .collect();
    of_service.sort_by_key(|(slot, _)| (slot.ordinal, slot.id));
    let settled = |slot: &Slot, assignments: &[&Assignment]| {
        runs(slot, assignments, silence) || ended(slot, assignments, silence)
    };
    let mut step = of_service
        .iter()
        .all(|(slot, assignments)| settled(slot, assignments));
    for (slot, assignments) in of_service {
        if slot.spec_hash == service.spec_hash {
            continue;
        }
        let stands = runs(slot, assignments, silence);
        if stands && !step {
            continue;
        }
        step &= !stands;
        slot.spec_hash = service.spec_hash;
        slot.demand = demand;
        slot.refusals.clear();
        actions.push(Action::ChangeSlot(slot.clone()));
    }
}

fn grow<'a>(
    application: &Application,
    service: &Service,
    demand: Resources,
    input: &Input<'a>,
    ids: &dyn IdSource,
    wanted: &mut Wanted<'a>,
    actions: &mut Vec<Action>,
) {
    let mut taken: Vec<u32> = wanted
        .iter()
        .filter(|(slot, _)| slot.service == service.name && slot.desired != Desired::Stop)
        .map(|(slot, _)| slot.ordinal)
        .collect();
    taken.sort_unstable();
    let missing = (service.replicas as usize).saturating_sub(taken.len());
    let free = (0..u32::MAX).filter(|ordinal| taken.binary_search(ordinal).is_err());
    let ordinals: Vec<u32> = free.take(missing).collect();
    for ordinal in ordinals {
        let slot = Slot {
            id: SlotId(ids.next()),
            app: application.key.clone(),
            app_uid: application.uid,
            service: service.name.clone(),
            ordinal,
            desired: Desired::Run,
            restart_count: 0,
            spec_hash: service.spec_hash,
            demand,
            upstream: None,
            refusals: Vec::new(),
            pending: Vec::new(),
            created_at: input.now,
            revision: 0,
        };
        actions.push(Action::MakeSlot(slot.clone()));
        wanted.push((slot, Vec::new()));
    }
}

/// Whether the slot's own spec runs, as far as it can be heard.
fn runs(slot: &Slot, assignments: &[&Assignment], silence: &Silence<'_>) -> bool {
    let phases = [Phase::Running, Phase::Paused];
    copies::any_in_phase(assignments, slot.spec_hash, silence, &phases)
}

/// Whether the slot's own spec ran to its end.
fn ended(slot: &Slot, assignments: &[&Assignment], silence: &Silence<'_>) -> bool {
    copies::any_in_phase(assignments, slot.spec_hash, silence, &[Phase::Completed])
}
