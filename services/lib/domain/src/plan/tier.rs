//! The plan of a tier for one application: which slots to make and retire, which assignments to change, which slots need
//! a place.
//!
//! Laws, tested below: planning twice is planning once; nothing is stopped that was not retired, outdated or lost a pick;
//! unknown is not absent: what a silent child runs counts as running.

use crate::{
    ids::{AssignmentId, IdSource, SlotId},
    lifecycle::Phase,
    plan::slots,
    plant::{self, Plant},
    records::{Application, Assignment, Desired, Slot},
    resources::Resources,
    time::Time,
};

/// A slot with what was placed for it.
#[derive(Clone, Debug)]
pub struct SlotView<'a> {
    /// The slot.
    pub slot: &'a Slot,
    /// Its assignments, those that are being stopped included.
    pub assignments: Vec<&'a Assignment>,
}

/// Something to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Make this slot.
    MakeSlot(Slot),
    /// Replace the slot's record by this one.
    ChangeSlot(Slot),
    /// Nothing is left of the slot.
    RemoveSlot(SlotId),
    /// Find a place for this slot, as it is after the actions before.
    Place(Slot),
    /// Give the assignment a new order.
    Order {
        /// Which.
        id: AssignmentId,
        /// What is wanted of it now.
        desired: Desired,
        /// Restarts that users asked for.
        restart_count: u32,
        /// Why, for the log and for people.
        why: Why,
    },
    /// Nothing is left of the application.
    RemoveApplication,
    /// Look again then.
    Wait(Time),
}

/// Why an assignment gets a new order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Its slot is not wanted any more.
    Retired,
    /// Its slot has another spec now.
    Outdated,
    /// Another assignment fills the slot.
    Surplus,
    /// It was found running and fills its slot.
    Adopted,
    /// Its slot's wish changed.
    Wish,
}

impl Why {
    /// One sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Why::Retired => "the replica is no longer wanted",
            Why::Outdated => "the service has a newer spec",
            Why::Surplus => "another instance fills the same replica",
            Why::Adopted => "it was found running and fills its replica",
            Why::Wish => "a user asked for it",
        }
    }
}

/// What is asked of [`plan`].
pub struct Input<'a> {
    /// The application; `None` when only slots of it are left.
    pub application: Option<&'a Application>,
    /// Whether this tier owns it and decides how many slots it has.
    pub owned: bool,
    /// Its slots, with their assignments.
    pub slots: Vec<SlotView<'a>>,
    /// What an instance of each service needs, in the order of `application.services`.
    pub demands: &'a [Resources],
    /// Now, by the tier's wall clock.
    pub now: Time,
}

/// Plans one application.
#[must_use]
pub fn plan(input: &Input<'_>, ids: &dyn IdSource) -> Vec<Action> {
    if plant::on(Plant::EmptyPlan) {
        return Vec::new();
    }
    let mut actions = Vec::new();
    let mut wanted: Vec<(Slot, Vec<&Assignment>)> = input
        .slots
        .iter()
        .map(|view| (view.slot.clone(), view.assignments.clone()))
        .collect();
    if input.owned {
        let changed = slots::shape(input, ids, &mut wanted);
        actions.extend(changed);
    }
    for (slot, assignments) in &wanted {
        realise(slot, assignments, input.now, &mut actions);
    }
    let empty = wanted.is_empty()
        || wanted
            .iter()
            .all(|(slot, _)| actions.contains(&Action::RemoveSlot(slot.id)));
    if empty
        && input
            .application
            .is_some_and(|app| app.deleted_at.is_some() || !input.owned)
    {
        actions.push(Action::RemoveApplication);
    }
    actions
}

/// Brings the assignments of one slot to its wish.
fn realise(slot: &Slot, assignments: &[&Assignment], now: Time, actions: &mut Vec<Action>) {
    if slot.desired == Desired::Stop {
        let mut left = false;
        for assignment in assignments {
            left = true;
            stop(assignment, Why::Retired, actions);
        }
        if !left && slot.upstream.is_none() {
            actions.push(Action::RemoveSlot(slot.id));
        }
        return;
    }
    let fits = |a: &&&Assignment| a.desired != Desired::Stop && a.spec_hash == slot.spec_hash;
    let keep = assignments
        .iter()
        .filter(fits)
        .max_by_key(|a| rank(a))
        .map(|a| a.id);
    let mut stopping = false;
    for assignment in assignments {
        if Some(assignment.id) == keep {
            let held = assignment.desired == Desired::Hold;
            if held
                || assignment.desired != slot.desired
                || assignment.restart_count != slot.restart_count
            {
                actions.push(Action::Order {
                    id: assignment.id,
                    desired: slot.desired,
                    restart_count: slot.restart_count,
                    why: if held { Why::Adopted } else { Why::Wish },
                });
            }
            continue;
        }
        let outdated = assignment.spec_hash != slot.spec_hash;
        stop(
            assignment,
            if outdated {
                Why::Outdated
            } else {
                Why::Surplus
            },
            actions,
        );
        stopping = true;
    }
    // What the parent's snapshot does not name is held, which is to leave it alone: once nothing of it is there any more,
    // nothing is started in its place. It may have been stopped for good since an old copy of the database was made.
    if slot.upstream.as_ref().is_some_and(|up| up.orphan) && keep.is_none() {
        if !stopping {
            actions.push(Action::RemoveSlot(slot.id));
        }
        return;
    }
    // A new instance waits until the one before it is known to have stopped: they may share a port or a volume.
    if keep.is_none() && !stopping {
        match slot
            .upstream
            .as_ref()
            .filter(|up| up.recorded.is_some() && now < up.hold_until)
        {
            Some(up) => actions.push(Action::Wait(up.hold_until)),
            None => actions.push(Action::Place(slot.clone())),
        }
    }
}

fn stop(assignment: &Assignment, why: Why, actions: &mut Vec<Action>) {
    if assignment.desired != Desired::Stop {
        actions.push(Action::Order {
            id: assignment.id,
            desired: Desired::Stop,
            restart_count: assignment.restart_count,
            why,
        });
    }
}

/// Which of several assignments of a slot stays: one that runs before one that does not, a wanted one before a found one,
/// then the older one.
fn rank(assignment: &Assignment) -> (bool, bool, std::cmp::Reverse<AssignmentId>) {
    let runs = matches!(assignment.observed.phase, Phase::Running | Phase::Paused);
    (runs, assignment.is_live(), std::cmp::Reverse(assignment.id))
}

#[cfg(test)]
#[path = "tier_tests.rs"]
mod tests;
