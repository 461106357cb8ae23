//! What the plan makes of silence: a table of who is replaced, the picks on return, and the laws under chance.

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::{
    tests::{World, app},
    *,
};
use crate::{
    child::{
        ChildState::{self, Disconnected, Lost, Ready, Returning, Suspect},
        Replace::{self, Fenced, Limited, No, Proven, Released, Unproven},
    },
    ids::{ChildId, SpecHash},
    lifecycle::Phase,
    spec::{Disconnect, Mode, Reconcile, Terms},
};

const SPEC: SpecHash = SpecHash([1; 32]);

/// One replica, running on child 0.
fn world(disconnect: Disconnect) -> World {
    let mut world = World::new(app(1, 1));
    let terms = Terms {
        disconnect,
        stop_grace: Duration::from_secs(10),
    };
    world.terms.insert(SPEC, terms);
    world.settle();
    world
}

fn reconciled(reconcile: Reconcile) -> Disconnect {
    Disconnect {
        reconcile,
        ..Disconnect::default()
    }
}

fn exclusive() -> Disconnect {
    let stop_after = Duration::from_secs(60);
    Disconnect {
        mode: Mode::Exclusive { stop_after },
        ..Disconnect::default()
    }
}

fn never() -> Disconnect {
    Disconnect {
        replace: false,
        ..Disconnect::default()
    }
}

/// The child and the order of each copy, sorted by child.
fn copies(world: &World) -> Vec<(u128, Desired)> {
    let mut copies: Vec<(u128, Desired)> = world
        .assignments
        .iter()
        .map(|a| (a.child.0.as_u128(), a.desired))
        .collect();
    copies.sort_unstable();
    copies
}

const ALONE: &[(u128, Desired)] = &[(0, Desired::Run)];
const BOTH: &[(u128, Desired)] = &[(0, Desired::Run), (1, Desired::Run)];
const INSTEAD: &[(u128, Desired)] = &[(0, Desired::Stop), (1, Desired::Run)];

#[test]
fn who_is_replaced_and_who_is_stopped_with_it() {
    // Silent for less than an exclusive instance needs (60 s and a quarter, 10 s, 45 s), or for longer.
    let (short, long) = (129, 130);
    for (disconnect, state, replace, silence, copied) in [
        (Disconnect::default(), Suspect, No, short, ALONE),
        (Disconnect::default(), Disconnected, No, long, ALONE),
        (Disconnect::default(), Disconnected, Unproven, long, ALONE),
        (Disconnect::default(), Disconnected, Limited, long, ALONE),
        (Disconnect::default(), Disconnected, Proven, long, BOTH),
        (Disconnect::default(), Suspect, Released, short, BOTH),
        (Disconnect::default(), Lost, Unproven, long, ALONE),
        (Disconnect::default(), Lost, Proven, long, INSTEAD),
        (Disconnect::default(), Lost, Fenced, short, INSTEAD),
        (Disconnect::default(), Returning, Proven, long, ALONE),
        (Disconnect::default(), Returning, Fenced, short, INSTEAD),
        (never(), Disconnected, Proven, long, ALONE),
        (never(), Lost, Proven, long, ALONE),
        (never(), Disconnected, Released, long, ALONE),
        (never(), Lost, Fenced, short, INSTEAD),
        (exclusive(), Disconnected, Proven, short, ALONE),
        (exclusive(), Disconnected, Proven, long, INSTEAD),
        (exclusive(), Disconnected, Released, short, ALONE),
        (exclusive(), Disconnected, Released, long, INSTEAD),
        (exclusive(), Disconnected, Unproven, long, ALONE),
        (exclusive(), Lost, Fenced, short, INSTEAD),
    ] {
        let mut world = world(disconnect);
        world.set(0, state, replace);
        world.child(0).silence = Duration::from_secs(silence);
        world.settle_silently();
        assert_eq!(
            copies(&world),
            copied,
            "{disconnect:?} {state:?} {replace:?} {silence}"
        );
    }
}

#[test]
fn the_root_replaces_an_exclusive_one_only_behind_a_fence() {
    let mut world = world(exclusive());
    world.lease = None;
    world.set(0, Lost, Proven);
    world.child(0).silence = Duration::from_secs(90_000);
    world.settle();
    assert_eq!(copies(&world), ALONE);
    world.set(0, Lost, Fenced);
    world.settle();
    assert_eq!(copies(&world), INSTEAD);
}

#[test]
fn what_a_child_hands_back_unheard_gets_a_substitute_and_is_compared_on_its_return() {
    for (disconnect, copied, kept) in [
        (Disconnect::default(), BOTH, 0),
        (reconciled(Reconcile::KeepReplacement), BOTH, 1),
        (never(), ALONE, 0),
        (exclusive(), ALONE, 0),
    ] {
        let mut world = world(disconnect);
        world.lease = None;
        let copy = &mut world.assignments[0];
        copy.observed.unreachable = true;
        world.settle_silently();
        assert_eq!(copies(&world), ALONE, "its child may have room yet");
        world.assignments[0].observed.phase = Phase::Pending;
        world.settle_silently();
        assert_eq!(copies(&world), copied, "{disconnect:?}");
        let copy = &mut world.assignments[0];
        copy.observed.unreachable = false;
        copy.observed.phase = Phase::Running;
        world.settle();
        assert_eq!(copies(&world), [(kept, Desired::Run)], "{disconnect:?}");
    }
}

#[test]
fn what_was_handed_back_is_kept_once_it_is_heard_again() {
    let mut world = world(Disconnect::default());
    let slot = &mut world.slots[0];
    slot.upstream = Some(crate::records::Upstream {
        slot: slot.id,
        generation: 1,
        recorded: None,
        hold_until: Time(0),
        orphan: false,
        returned: Some("no room".to_owned()),
    });
    world.settle();
    assert_eq!(copies(&world), ALONE);
    let upstream = world.slots[0].upstream.as_ref();
    assert_eq!(upstream.and_then(|up| up.returned.clone()), None);
}

#[test]
fn without_a_place_nothing_is_stopped() {
    let mut world = world(Disconnect::default());
    for (n, state, replace) in [(0, Lost, Fenced), (1, Suspect, No), (2, Suspect, No)] {
        world.set(n, state, replace);
    }
    world.settle();
    assert_eq!(copies(&world), ALONE);
    world.set(1, Ready, No);
    world.settle();
    assert_eq!(copies(&world), INSTEAD);
}

#[test]
fn what_ended_is_not_started_again_elsewhere() {
    for phase in [Phase::Completed, Phase::Failed] {
        let mut world = world(Disconnect::default());
        world.assignments[0].observed.phase = phase;
        world.set(0, Lost, Proven);
        world.settle_silently();
        assert_eq!(copies(&world), ALONE, "{phase:?}");
    }
}

impl World {
    /// Plans and carries out without children that act.
    fn settle_silently(&mut self) {
        for _ in 0..5 {
            let actions = self.plan();
            self.carry_out(&actions);
        }
    }
}

#[test]
fn a_substitute_that_falls_silent_is_replaced_again() {
    let mut world = world(Disconnect::default());
    world.set(0, Disconnected, Proven);
    world.settle();
    world.set(1, Disconnected, Unproven);
    world.settle();
    assert_eq!(copies(&world), BOTH, "the substitute may run");
    world.set(1, Disconnected, Proven);
    world.settle();
    let three = [(0, Desired::Run), (1, Desired::Run), (2, Desired::Run)];
    assert_eq!(copies(&world), three);
    // All but the last one come back.
    world.set(0, Ready, No);
    world.set(1, Ready, No);
    world.set(2, Suspect, No);
    world.settle();
    assert_eq!(copies(&world), [(0, Desired::Run), (2, Desired::Run)]);
    world.set(2, Ready, No);
    world.settle();
    assert_eq!(copies(&world), ALONE);
}

#[test]
fn on_return_the_policy_picks_among_those_that_run() {
    let run = Phase::Running;
    let old = Some(Time(1));
    let new = Some(Time(2));
    // Phase and start of the original, those of the substitute, and the child that keeps the slot.
    for (reconcile, original, substitute, stays) in [
        (Reconcile::KeepOriginal, (run, new), (run, old), 0),
        (Reconcile::KeepReplacement, (run, old), (run, new), 1),
        (Reconcile::LongestRunning, (run, old), (run, new), 0),
        (Reconcile::LongestRunning, (run, new), (run, old), 1),
        (Reconcile::LongestRunning, (run, None), (run, new), 1),
        (
            Reconcile::KeepOriginal,
            (Phase::Preparing, None),
            (run, new),
            1,
        ),
        (
            Reconcile::KeepOriginal,
            (Phase::Failed, None),
            (run, new),
            1,
        ),
        (
            Reconcile::KeepReplacement,
            (run, old),
            (Phase::Preparing, None),
            0,
        ),
        (
            Reconcile::KeepReplacement,
            (Phase::Paused, old),
            (Phase::Preparing, None),
            0,
        ),
    ] {
        let mut world = world(reconciled(reconcile));
        world.set(0, Disconnected, Proven);
        world.settle();
        let state = [original, substitute];
        for a in &mut world.assignments {
            let at = usize::try_from(a.child.0.as_u128()).unwrap();
            (a.observed.phase, a.observed.running_since) = state[at];
        }
        world.set(0, Returning, No);
        assert_eq!(world.plan(), [], "nothing is picked while it is compared");
        world.set(0, Ready, No);
        let actions = world.plan();
        world.carry_out(&actions);
        let live: Vec<u128> = world
            .assignments
            .iter()
            .filter(|a| a.is_live())
            .map(|a| a.child.0.as_u128())
            .collect();
        assert_eq!(live, [stays], "{reconcile:?} {original:?} {substitute:?}");
        assert_eq!(world.plan(), []);
    }
}

#[test]
fn scaling_down_and_deleting_stop_both_copies_and_wait_for_both() {
    let mut world = world(Disconnect::default());
    world.set(0, Disconnected, Proven);
    world.settle();
    world.app.as_mut().unwrap().deleted_at = Some(Time(5));
    world.settle();
    assert_eq!(copies(&world), [(0, Desired::Stop)]);
    assert!(world.app.is_some(), "one has not said that it stopped");
    world.set(0, Ready, No);
    world.settle();
    assert!(world.app.is_none() && world.assignments.is_empty());
}

#[test]
fn a_wish_reaches_both_copies() {
    let mut world = world(Disconnect::default());
    world.set(0, Disconnected, Proven);
    world.settle();
    world.slots[0].restart_count = 3;
    world.settle();
    assert!(world.assignments.iter().all(|a| a.restart_count == 3));
}

#[test]
fn a_rollout_waits_for_a_substitute_and_does_not_wait_for_who_is_gone() {
    let mut world = World::new(app(2, 1));
    world.settle();
    let zero = ChildId(Uuid::from_u128(0));
    world.assignments[0].child = ChildId(Uuid::from_u128(2));
    assert_eq!(world.assignments[1].child, zero);
    world.set(0, Disconnected, Proven);
    let actions = world.plan();
    world.carry_out(&actions);
    world.app = Some(app(2, 2));
    // The substitute does not run yet: it may move, the other replica not.
    let actions = world.plan();
    world.carry_out(&actions);
    let moved: Vec<u32> = world
        .slots
        .iter()
        .filter(|slot| slot.spec_hash == SpecHash([2; 32]))
        .map(|slot| slot.ordinal)
        .collect();
    assert_eq!(moved, [1]);
    world.settle();
    let running: Vec<bool> = world
        .assignments
        .iter()
        .filter(|a| a.child != zero)
        .map(|a| a.is_live() && a.spec_hash == SpecHash([2; 32]))
        .collect();
    assert_eq!(running, [true, true], "{:?}", copies(&world));
}

#[test]
fn an_outdated_exclusive_one_is_waited_for_until_it_has_stopped_itself() {
    let mut world = world(exclusive());
    let terms = *world.terms.get(&SPEC).unwrap();
    world.terms.insert(SpecHash([2; 32]), terms);
    world.set(0, Disconnected, No);
    world.app = Some(app(1, 2));
    world.settle();
    assert_eq!(copies(&world), [(0, Desired::Stop)]);
    world.set(0, Disconnected, Proven);
    world.child(0).silence = Duration::from_secs(130);
    world.settle();
    assert_eq!(copies(&world), INSTEAD);
}

#[test]
fn a_new_slot_waits_for_the_retired_one_of_its_number_as_a_replacement_does() {
    let silent = Duration::from_secs(130);
    let lease = Some(Duration::from_secs(45));
    // Mode, lease of the tier, state, evidence, silence: whether something new may start before the old one's end is known.
    let table = [
        (
            Disconnect::default(),
            lease,
            Ready,
            No,
            Duration::ZERO,
            false,
        ),
        (
            Disconnect::default(),
            lease,
            Returning,
            No,
            Duration::ZERO,
            false,
        ),
        (
            Disconnect::default(),
            lease,
            Disconnected,
            No,
            silent,
            false,
        ),
        (
            Disconnect::default(),
            lease,
            Disconnected,
            Proven,
            silent,
            true,
        ),
        (
            Disconnect::default(),
            None,
            Disconnected,
            Proven,
            silent,
            true,
        ),
        (never(), lease, Disconnected, Proven, silent, false),
        (never(), lease, Disconnected, Fenced, silent, true),
        (exclusive(), lease, Ready, No, Duration::ZERO, false),
        (
            exclusive(),
            lease,
            Disconnected,
            Proven,
            Duration::from_secs(60),
            false,
        ),
        (exclusive(), lease, Disconnected, Proven, silent, true),
        (exclusive(), None, Disconnected, Proven, silent, false),
        (exclusive(), None, Disconnected, Fenced, silent, true),
    ];
    for (mode, lease, state, replace, silence, starts) in table {
        let mut world = world(mode);
        world.lease = lease;
        let old = world.slots[0].id;
        world.set(0, state, replace);
        world.child(0).silence = silence;
        for replicas in [0, 1] {
            world.app = Some(app(replicas, 1));
            let actions = world.plan();
            world.carry_out(&actions);
        }
        let new: Vec<_> = world.assignments.iter().filter(|a| a.slot != old).collect();
        let seen = format!("{mode:?} {lease:?} {state:?} {replace:?}");
        assert_eq!(!new.is_empty(), starts, "{seen}");
        assert!(
            world.slots.iter().any(|s| s.id != old),
            "{seen}: it has its slot"
        );
        // Once the old one is known to have stopped, the new one starts.
        world.set(0, Ready, No);
        world.settle();
        assert_eq!(world.running(), [0], "{seen}");
        assert!(world.slots.iter().all(|s| s.id != old), "{seen}");
    }
}

#[test]
fn other_numbers_do_not_wait_for_a_retired_slot() {
    let mut world = world(exclusive());
    world.app = Some(app(2, 1));
    world.settle();
    world.set(0, Disconnected, No);
    world.app = Some(app(0, 1));
    let actions = world.plan();
    world.carry_out(&actions);
    world.child_acts();
    world.app = Some(app(4, 1));
    world.settle();
    let left: Vec<u32> = world
        .assignments
        .iter()
        .filter(|a| a.desired == Desired::Stop)
        .map(|a| a.ordinal)
        .collect();
    let expected: Vec<u32> = (0..4).filter(|n| !left.contains(n)).collect();
    assert!(!left.is_empty());
    assert_eq!(world.running(), expected);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Silent(u128, Replace),
    Lost(u128, Replace),
    Back(u128),
    Compared(u128),
    Scale(u32),
    Spec(u8),
    Act,
}

fn event() -> impl Strategy<Value = Event> {
    let judged = prop::sample::select(vec![No, Unproven, Limited, Proven, Released, Fenced]);
    prop_oneof![
        3 => (0u128..3, judged.clone()).prop_map(|(n, replace)| Event::Silent(n, replace)),
        1 => (0u128..3, judged).prop_map(|(n, replace)| Event::Lost(n, replace)),
        3 => (0u128..3).prop_map(Event::Back),
        3 => (0u128..3).prop_map(Event::Compared),
        1 => (0u32..3).prop_map(Event::Scale),
        1 => (1u8..3).prop_map(Event::Spec),
        2 => Just(Event::Act),
    ]
}

proptest! {
    /// Whatever falls silent and comes back: nothing gets a second copy without evidence, an exclusive one never before the
    /// first one's STOP, and once all are back each replica runs once.
    #[test]
    fn any_history_of_silence_settles(
        events in prop::collection::vec(event(), 1..30),
        mode in prop::sample::select(vec![Disconnect::default(), exclusive(), reconciled(Reconcile::KeepReplacement), reconciled(Reconcile::LongestRunning), never()]),
    ) {
        let mut world = World::new(app(2, 1));
        let is_exclusive = mode == exclusive();
        for terms in world.terms.values_mut() {
            terms.disconnect = mode;
        }
        let mut wish = (2, 1);
        world.settle();
        for event in events {
            match event {
                Event::Silent(n, replace) => {
                    world.set(n, Disconnected, replace);
                    world.child(n).silence = Duration::from_secs(300);
                }
                Event::Lost(n, replace) => world.set(n, Lost, replace),
                Event::Back(n) if world.child(n).state != Ready => world.set(n, Returning, No),
                Event::Compared(n) if world.child(n).state == Returning => world.set(n, Ready, No),
                Event::Back(_) | Event::Compared(_) => {}
                Event::Scale(replicas) => wish.0 = replicas,
                Event::Spec(spec) => wish.1 = spec,
                Event::Act => world.child_acts(),
            }
            world.app = Some(app(wish.0, wish.1));
            let mut places: Vec<Action> = world.plan();
            places.retain(|a| matches!(a, Action::Place(_) | Action::Substitute { .. }));
            for action in &places {
                let (slot, stopped) = match action {
                    Action::Substitute { slot, stop } => (slot, stop.clone()),
                    Action::Place(slot) => (slot, Vec::new()),
                    _ => unreachable!(),
                };
                // Also what a retired slot of the same number has, which is stopped by the same plan.
                for copy in world.assignments.iter().filter(|a| a.ordinal == slot.ordinal) {
                    let child = world.children.get(&copy.child).unwrap();
                    prop_assert!(child.replace.is_allowed() && !is_heard(child.state, child.replace),
                        "{:?} {:?} is replaced", child.state, child.replace);
                    let ends = copy.desired == Desired::Stop || stopped.contains(&copy.id)
                        || copy.spec_hash != slot.spec_hash || copy.slot != slot.id;
                    prop_assert!(!is_exclusive || ends, "two exclusive ones");
                    prop_assert!(mode != never() || child.replace == Fenced);
                }
            }
            let actions = world.plan();
            let room = world.children.values().any(|c| c.state.takes_work());
            if room || !actions.iter().any(|a| matches!(a, Action::Place(_))) {
                let fits = places.iter().all(|a| matches!(a, Action::Substitute { .. }) || can_place(&world, a));
                if fits {
                    world.carry_out(&actions);
                }
            }
        }
        for n in 0..3 {
            world.set(n, Ready, No);
        }
        world.settle();
        prop_assert_eq!(world.running().len(), wish.0 as usize);
        prop_assert_eq!(world.assignments.len(), wish.0 as usize);
    }
}

fn is_heard(state: ChildState, replace: Replace) -> bool {
    state == Ready || state == Returning && replace != Fenced
}

/// Whether a child is left for the slot: the world of these tests puts two copies nowhere.
fn can_place(world: &World, action: &Action) -> bool {
    let Action::Place(slot) = action else {
        return true;
    };
    world.children.values().any(|child| {
        child.state.takes_work()
            && !world
                .assignments
                .iter()
                .any(|a| a.slot == slot.id && a.child == child.id)
    })
}

#[test]
fn what_the_parent_does_not_name_stays_while_its_child_is_not_heard_or_compared() {
    for (state, replace) in [
        (Suspect, No),
        (Disconnected, Proven),
        (Lost, Fenced),
        (Returning, No),
    ] {
        let mut world = world(Disconnect::default());
        world.slots[0].upstream = Some(crate::records::Upstream {
            slot: SlotId::default(),
            generation: 1,
            recorded: None,
            hold_until: Time(0),
            orphan: true,
            returned: None,
        });
        world.set(0, state, replace);
        assert_eq!(world.plan(), [], "{state:?} {replace:?}");
    }
}
