//! Finding a place for a slot.

use std::collections::BTreeMap;

use edgeio_domain::{
    ids::{AppUid, AssignmentId, ChildId},
    lifecycle::Phase,
    records::{Assignment, CandidateReasons, Observed, Slot},
    time::Time,
};
use edgeio_scheduler::Pool;

use super::demands::Demands;

/// Siblings per child, by application and service.
pub(crate) type Siblings = BTreeMap<(AppUid, String), BTreeMap<ChildId, u32>>;

/// Asks the scheduler for a place.
///
/// # Errors
/// Why each candidate was not taken.
pub(crate) fn place(
    slot: &Slot,
    pool: &mut Pool,
    demands: &Demands,
    siblings: &BTreeMap<ChildId, u32>,
    now: Time,
) -> Result<ChildId, Vec<CandidateReasons>> {
    let demand = demands.get(slot.spec_hash).map_err(|reason| {
        vec![CandidateReasons {
            candidate: "any place".to_owned(),
            reasons: vec![reason],
        }]
    })?;
    let refused = |child: ChildId| {
        let refusal = slot
            .refusals
            .iter()
            .find(|r| r.child == child && now < r.until)?;
        Some(refusal.message.clone())
    };
    let beside = |child: ChildId| siblings.get(&child).copied().unwrap_or(0);
    pool.place(demand, &beside, &refused)
}

/// The record of a new placement.
pub(crate) fn assignment(slot: &Slot, child: ChildId, id: AssignmentId, now: Time) -> Assignment {
    Assignment {
        id,
        slot: slot.id,
        app: slot.app.clone(),
        app_uid: slot.app_uid,
        service: slot.service.clone(),
        ordinal: slot.ordinal,
        child,
        generation: 1,
        desired: slot.desired,
        restart_count: slot.restart_count,
        spec_hash: slot.spec_hash,
        demand: slot.demand,
        observed: Observed {
            phase: Phase::Scheduled,
            ..Default::default()
        },
        created_at: now,
        order_revision: 0,
        revision: 0,
    }
}

/// When the refusals of a slot that is pending run out.
pub(crate) fn next_try(slot: &Slot, now: Time) -> Option<Time> {
    slot.refusals
        .iter()
        .map(|r| r.until)
        .filter(|until| *until > now)
        .min()
}
