//! What was found running without a slot, and the replica that it is by its application, service and number.
//!
//! A tier that lost its database holds what its children report and leaves it alone. When a user applies the application
//! again, that is the decision that was waited for: what was found fills the replicas of its number, and what is more than
//! the application asks for is retired. What has the number of a replica that is filled already stays held: a person must
//! say which of the two is wanted.
//!
//! A slot of the parent is such a wish too. Where parent and tier both have older copies of their databases, the parent
//! names the replica by an id that it had before, and what runs of it is known here by its number only: it fills the slot,
//! since another instance beside it would be a second one of the same replica.
//!
//! Deliberately absent: guessing. Without an application of that owner, namespace and name, or a slot of that number of the
//! parent's, nothing is touched; and where an old copy of the database was put back, the application in it was decided on
//! before anything was found: it is filled up, and what is more stays held until a user changes it.

use std::{cmp::Reverse, collections::BTreeMap};

use edgeio_domain::{
    ids::{AppUid, AssignmentId, SlotId},
    lifecycle::Phase,
    records::{AppKey, Application, Assignment, Desired, Owner, Slot},
    time::Time,
};

/// Gives what is held a slot of its application. Returns the slots that have to be recorded.
pub(crate) fn take_over(
    own: Owner,
    applications: &BTreeMap<AppUid, Application>,
    slots: &mut BTreeMap<SlotId, Slot>,
    assignments: &mut BTreeMap<AssignmentId, Assignment>,
    now: Time,
) -> Vec<SlotId> {
    let by_key: BTreeMap<&AppKey, &Application> = applications
        .values()
        .filter(|app| app.key.owner == own && app.deleted_at.is_none())
        .map(|app| (&app.key, app))
        .collect();
    let held = |a: &&Assignment| a.desired == Desired::Hold && !slots.contains_key(&a.slot);
    let mut found: Vec<AssignmentId> = assignments.values().filter(held).map(|a| a.id).collect();
    // Of two with one number the one that runs fills the replica.
    found.sort_by_key(|id| {
        let runs = |a: &Assignment| a.observed.phase == Phase::Running;
        (Reverse(assignments.get(id).is_some_and(runs)), *id)
    });
    let mut made = Vec::new();
    for id in found {
        let Some(assignment) = assignments.get(&id) else {
            continue;
        };
        let filled = |slot: &Slot| assignments.values().any(|a| a.slot == slot.id);
        let (slot, app_uid) = if let Some(application) = by_key.get(&assignment.app) {
            let same = |slot: &&Slot| {
                slot.app_uid == application.uid
                    && slot.service == assignment.service
                    && slot.ordinal == assignment.ordinal
                    && slot.desired != Desired::Stop
            };
            let slot = match slots.values().find(same) {
                // Two that were in one slot are original and substitute: the plan picks between them.
                Some(slot) if slot.id == assignment.slot || !filled(slot) => slot.id,
                Some(_) => continue,
                None if !wants_more(application, assignment, slots)
                    // What is adopted one by one changes the application and what is still held in one commit.
                    && application.revision <= assignment.revision =>
                {
                    continue;
                }
                None => {
                    let slot = slot_for(assignment, application, now);
                    let id = slot.id;
                    made.push(id);
                    slots.insert(id, slot);
                    id
                }
            };
            (slot, application.uid)
        } else {
            let waits = |slot: &&mut Slot| of_parent(slot, assignment, now) && !filled(slot);
            let Some(slot) = slots.values_mut().find(waits) else {
                continue;
            };
            let returned = slot.upstream.as_mut().and_then(|up| up.returned.take());
            if returned.is_some() || !slot.pending.is_empty() {
                slot.pending.clear();
                made.push(slot.id);
            }
            (slot.id, slot.app_uid)
        };
        if let Some(assignment) = assignments.get_mut(&id) {
            assignment.slot = slot;
            assignment.app_uid = app_uid;
        }
    }
    made
}

/// Whether the parent wants the replica that was found under this slot, and nothing else of it is awaited.
fn of_parent(slot: &Slot, found: &Assignment, now: Time) -> bool {
    let asked = slot
        .upstream
        .as_ref()
        .is_some_and(|up| !up.orphan && (up.recorded.is_none() || now >= up.hold_until));
    asked
        && slot.app == found.app
        && slot.service == found.service
        && slot.ordinal == found.ordinal
        && slot.desired != Desired::Stop
}

/// Whether the application asks for more replicas of the service than there are slots.
fn wants_more(
    application: &Application,
    found: &Assignment,
    slots: &BTreeMap<SlotId, Slot>,
) -> bool {
    let service = application
        .services
        .iter()
        .find(|service| service.name == found.service);
    let there = slots.values().filter(|slot| {
        slot.app_uid == application.uid
            && slot.service == found.service
            && slot.desired != Desired::Stop
    });
    service.is_some_and(|service| there.count() < service.replicas as usize)
}

/// A slot that is filled by what was found.
fn slot_for(assignment: &Assignment, application: &Application, now: Time) -> Slot {
    Slot {
        id: assignment.slot,
        app: application.key.clone(),
        app_uid: application.uid,
        service: assignment.service.clone(),
        ordinal: assignment.ordinal,
        desired: Desired::Run,
        restart_count: assignment.restart_count,
        spec_hash: assignment.spec_hash,
        demand: assignment.demand,
        upstream: None,
        refusals: Vec::new(),
        pending: Vec::new(),
        created_at: now,
        revision: 0,
    }
}
