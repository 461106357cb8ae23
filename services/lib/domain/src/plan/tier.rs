//! The plan of a tier for one application: which slots to make and retire, which assignments to change, which slots need
//! a place.
//!
//! Laws, tested below: planning twice is planning once; nothing is stopped that was not retired, outdated, replaced or lost
//! a pick; unknown is not absent: what a silent child runs counts as running until that child is judged replaceable; of a
//! slot's copies one is heard at most, once all that came back were compared; nothing is started for a replica while
//! something of it is being stopped, in the same slot or in a retired one of the same number.

use std::collections::BTreeSet;

use crate::{
    ids::{AssignmentId, IdSource, SlotId},
    name::Name,
    plan::{
        copies::{self, Pick, Silence},
        slots,
    },
    plant::{self, Plant},
    records::{Application, Assignment, Desired, Slot, Upstream},
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
    /// Find a place for a substitute of what this slot has on children that cannot be heard. Once it is found, and only
    /// then, give these the order to stop.
    Substitute {
        /// The slot.
        slot: Slot,
        /// What is stopped with it.
        stop: Vec<AssignmentId>,
    },
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
    /// It could not be heard and was replaced.
    Replaced,
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
            Why::Replaced => "it could not be heard and was replaced",
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
    /// Who cannot be heard, and what follows from it.
    pub silence: &'a Silence<'a>,
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
    let leaving = leaving(&wanted, input.silence);
    for (slot, assignments) in &wanted {
        let blocked =
            slot.desired != Desired::Stop && leaving.contains(&(&slot.service, slot.ordinal));
        let room = if blocked { Room::Taken } else { Room::Free };
        realise(
            slot,
            assignments,
            room,
            (input.silence, input.now),
            &mut actions,
        );
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

/// Whether something else of the same replica may still run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Free,
    /// A retired slot of the same number is not known to have stopped.
    Taken,
}

/// The replicas of which a retired slot still has something that may run. A service that was scaled down and up again, or a
/// replica that the parent placed anew, has a new slot for the same number: it shares a port or a volume with the old one,
/// and an exclusive service never runs twice.
fn leaving<'a>(
    wanted: &'a [(Slot, Vec<&Assignment>)],
    silence: &Silence<'_>,
) -> BTreeSet<(&'a Name, u32)> {
    let retired = wanted
        .iter()
        .filter(|(slot, _)| slot.desired == Desired::Stop);
    retired
        .filter(|(_, assignments)| assignments.iter().any(|a| copies::blocks(a, silence)))
        .map(|(slot, _)| (&slot.service, slot.ordinal))
        .collect()
}

/// Brings the assignments of one slot to its wish.
fn realise(
    slot: &Slot,
    assignments: &[&Assignment],
    room: Room,
    (silence, now): (&Silence<'_>, Time),
    actions: &mut Vec<Action>,
) {
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
    let fits = |a: &&Assignment| a.desired != Desired::Stop && a.spec_hash == slot.spec_hash;
    let copies: Vec<&Assignment> = assignments.iter().copied().filter(fits).collect();
    let pick = copies::pick(&copies, silence);
    let (keep, losers, given_up) = match &pick {
        Pick::Keep {
            keep,
            losers,
            given_up,
        } => (Some(*keep), losers.as_slice(), given_up.as_slice()),
        Pick::Unheard(keep) => (Some(*keep), &[][..], &[][..]),
        Pick::None | Pick::Later | Pick::Substitute(_) => (None, &[][..], &[][..]),
    };
    let mut stopping = false;
    for assignment in assignments {
        if !fits(assignment) {
            let outdated = assignment.spec_hash != slot.spec_hash;
            let why = if outdated {
                Why::Outdated
            } else {
                Why::Surplus
            };
            stop(assignment, why, actions);
            stopping |= copies::blocks(assignment, silence);
        } else if losers.contains(&assignment.id) {
            stop(assignment, Why::Surplus, actions);
        } else if given_up.contains(&assignment.id) {
            stop(assignment, Why::Replaced, actions);
        } else if keep == Some(assignment.id) || assignment.is_live() {
            wish(slot, assignment, actions);
        }
    }
    // It was handed back while it could not be heard, and is heard again: it is here after all.
    if let (Pick::Keep { .. }, Some(upstream)) = (&pick, &slot.upstream)
        && upstream.returned.is_some()
    {
        let mut slot = slot.clone();
        slot.pending.clear();
        slot.upstream = Some(Upstream {
            returned: None,
            ..upstream.clone()
        });
        actions.push(Action::ChangeSlot(slot));
    }
    // What the parent's snapshot does not name is held, which is to leave it alone: once nothing of it is there any more,
    // nothing is started in its place. It may have been stopped for good since an old copy of the database was made.
    // A copy that is not heard, or is being compared, is there.
    if slot.upstream.as_ref().is_some_and(|up| up.orphan) && keep.is_none() {
        if assignments.is_empty() {
            actions.push(Action::RemoveSlot(slot.id));
        }
        return;
    }
    // A new instance waits until the one before it is known to have stopped: they may share a port or a volume.
    if stopping || room == Room::Taken {
        return;
    }
    match pick {
        Pick::Keep { .. } | Pick::Unheard(_) | Pick::Later => {}
        Pick::Substitute(stop) => actions.push(Action::Substitute {
            slot: slot.clone(),
            stop,
        }),
        Pick::None => match slot
            .upstream
            .as_ref()
            .filter(|up| up.recorded.is_some() && now < up.hold_until)
        {
            Some(up) => actions.push(Action::Wait(up.hold_until)),
            None => actions.push(Action::Place(slot.clone())),
        },
    }
}

/// Gives a copy the slot's wish. Also one that cannot be heard: it learns of it when it returns.
fn wish(slot: &Slot, assignment: &Assignment, actions: &mut Vec<Action>) {
    let held = assignment.desired == Desired::Hold;
    if held || assignment.desired != slot.desired || assignment.restart_count != slot.restart_count
    {
        actions.push(Action::Order {
            id: assignment.id,
            desired: slot.desired,
            restart_count: slot.restart_count,
            why: if held { Why::Adopted } else { Why::Wish },
        });
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

#[cfg(test)]
#[path = "tier_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "silence_tests.rs"]
mod silence_tests;
