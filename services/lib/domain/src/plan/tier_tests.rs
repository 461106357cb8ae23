//! The tier's plan: a table of situations, and the law that carrying a plan out leaves nothing to plan.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    child::{Child, ChildState, Replace},
    ids::{AppUid, ChildId, SpecHash},
    lifecycle::Phase,
    name::Name,
    records::{AppKey, Observed, Owner, Service},
    spec::Terms,
};

/// Counts up, so that tests are deterministic.
#[derive(Default)]
struct Counter(AtomicU64);

impl IdSource for Counter {
    fn next(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1000)
    }
}

fn key() -> AppKey {
    AppKey {
        owner: Owner::Root,
        namespace: Name::new("default").unwrap(),
        name: Name::new("app").unwrap(),
    }
}

pub(super) fn app(replicas: u32, spec: u8) -> Application {
    Application {
        key: key(),
        uid: AppUid::default(),
        version: 1,
        services: vec![Service {
            name: Name::new("web").unwrap(),
            replicas,
            spec_hash: SpecHash([spec; 32]),
        }],
        deleted_at: None,
        created_at: Time(0),
        revision: 0,
    }
}

/// A world that carries plans out, with children that do at once what they are told, if they are heard.
pub(super) struct World {
    pub(super) app: Option<Application>,
    pub(super) slots: Vec<Slot>,
    pub(super) assignments: Vec<Assignment>,
    pub(super) children: BTreeMap<ChildId, Child>,
    pub(super) terms: BTreeMap<SpecHash, Terms>,
    pub(super) lease: Option<Duration>,
    ids: Counter,
}

impl World {
    pub(super) fn new(app: Application) -> Self {
        let child = |n| Child {
            id: ChildId(Uuid::from_u128(n)),
            state: ChildState::Ready,
            ..Default::default()
        };
        World {
            children: (0..3).map(child).map(|c| (c.id, c)).collect(),
            terms: (0..9)
                .map(|n| (SpecHash([n; 32]), Terms::default()))
                .collect(),
            lease: Some(Duration::from_secs(45)),
            app: Some(app),
            slots: Vec::new(),
            assignments: Vec::new(),
            ids: Counter::default(),
        }
    }

    /// The child, by its number.
    pub(super) fn child(&mut self, n: u128) -> &mut Child {
        self.children.get_mut(&ChildId(Uuid::from_u128(n))).unwrap()
    }

    /// The child falls silent, or is heard again.
    pub(super) fn set(&mut self, n: u128, state: ChildState, replace: Replace) {
        let child = self.child(n);
        (child.state, child.replace) = (state, replace);
    }

    fn is_heard(&self, child: ChildId) -> bool {
        self.children.get(&child).unwrap().state.is_heard()
    }

    pub(super) fn plan(&self) -> Vec<Action> {
        let slots = self
            .slots
            .iter()
            .map(|slot| SlotView {
                slot,
                assignments: self
                    .assignments
                    .iter()
                    .filter(|a| a.slot == slot.id)
                    .collect(),
            })
            .collect();
        let demands = [Resources::default()];
        plan(
            &Input {
                application: self.app.as_ref(),
                owned: true,
                slots,
                demands: &demands,
                silence: &Silence {
                    children: &self.children,
                    terms: &self.terms,
                    lease: self.lease,
                },
                now: Time(0),
            },
            &self.ids,
        )
    }

    /// Whether there was a place.
    fn place(&mut self, slot: &Slot) -> bool {
        let free = |child: &&Child| {
            child.state.takes_work()
                && !self
                    .assignments
                    .iter()
                    .any(|a| a.slot == slot.id && a.child == child.id)
        };
        let Some(child) = self.children.values().find(free).map(|c| c.id) else {
            return false;
        };
        let id = AssignmentId(self.ids.next());
        self.assignments.push(Assignment {
            child,
            ..assign(slot, id)
        });
        true
    }

    fn order(&mut self, id: AssignmentId, desired: Desired, restart_count: u32) {
        let a = self.assignments.iter_mut().find(|a| a.id == id).unwrap();
        (a.desired, a.restart_count, a.generation) = (desired, restart_count, a.generation + 1);
    }

    pub(super) fn carry_out(&mut self, actions: &[Action]) {
        for action in actions.iter().cloned() {
            match action {
                Action::MakeSlot(slot) => self.slots.push(slot),
                Action::ChangeSlot(slot) => {
                    self.slots.retain(|s| s.id != slot.id);
                    self.slots.push(slot);
                }
                Action::RemoveSlot(id) => self.slots.retain(|s| s.id != id),
                Action::Place(slot) => assert!(self.place(&slot)),
                Action::Substitute { slot, stop } => {
                    if self.place(&slot) {
                        for id in stop {
                            self.order(id, Desired::Stop, 0);
                        }
                    }
                }
                Action::Order {
                    id,
                    desired,
                    restart_count,
                    ..
                } => self.order(id, desired, restart_count),
                Action::RemoveApplication => self.app = None,
                Action::Wait(_) => {}
            }
        }
    }

    /// The child catches up: what should run runs, what should stop is gone.
    pub(super) fn child_acts(&mut self) {
        let heard: Vec<bool> = self
            .assignments
            .iter()
            .map(|a| self.is_heard(a.child) && !a.observed.unreachable)
            .collect();
        for (a, heard) in self.assignments.iter_mut().zip(&heard) {
            if *heard && a.desired != Desired::Stop {
                a.observed.phase = Phase::Running;
            }
        }
        let mut heard = heard.into_iter();
        self.assignments
            .retain(|a| !heard.next().unwrap_or_default() || a.desired != Desired::Stop);
    }

    /// Plans until nothing is left to do and returns how many plans that took.
    pub(super) fn settle(&mut self) -> usize {
        self.child_acts();
        for round in 0..50 {
            let actions = self.plan();
            let held = self.assignments.len();
            if actions.is_empty() {
                return round;
            }
            self.carry_out(&actions);
            // What found no place is asked for again.
            let seeks = |a: &Action| matches!(a, Action::Substitute { .. });
            assert!(
                self.plan().iter().all(|a| seeks(a) || !actions.contains(a)),
                "planning twice is planning once"
            );
            let only_seeks = actions.iter().all(seeks);
            if only_seeks && self.assignments.len() == held {
                return round;
            }
            self.child_acts();
        }
        panic!("no end after 50 rounds: {:?}", self.plan());
    }

    pub(super) fn running(&self) -> Vec<u32> {
        let mut ordinals: Vec<u32> = self
            .assignments
            .iter()
            .filter(|a| a.is_live())
            .map(|a| a.ordinal)
            .collect();
        ordinals.sort_unstable();
        ordinals
    }
}

fn assign(slot: &Slot, id: AssignmentId) -> Assignment {
    Assignment {
        id,
        slot: slot.id,
        app: slot.app.clone(),
        app_uid: slot.app_uid,
        service: slot.service.clone(),
        ordinal: slot.ordinal,
        child: ChildId::default(),
        generation: 1,
        desired: slot.desired,
        restart_count: slot.restart_count,
        spec_hash: slot.spec_hash,
        demand: slot.demand,
        observed: Observed::default(),
        created_at: Time(0),
        order_revision: 0,
        revision: 0,
    }
}

#[test]
fn replicas_go_up_and_down_and_the_highest_ordinal_goes_first() {
    let mut world = World::new(app(3, 1));
    world.settle();
    assert_eq!(world.running(), [0, 1, 2]);
    world.app = Some(app(5, 1));
    world.settle();
    assert_eq!(world.running(), [0, 1, 2, 3, 4]);
    world.app = Some(app(1, 1));
    world.settle();
    assert_eq!(world.running(), [0]);
}

#[test]
fn what_does_not_run_goes_before_what_does() {
    let mut world = World::new(app(3, 1));
    world.settle();
    world
        .assignments
        .iter_mut()
        .find(|a| a.ordinal == 1)
        .unwrap()
        .observed
        .phase = Phase::Preparing;
    world.app = Some(app(2, 1));
    let actions = world.plan();
    world.carry_out(&actions);
    assert_eq!(world.running(), [0, 2]);
}

#[test]
fn a_new_spec_replaces_one_at_a_time_under_new_ids() {
    let mut world = World::new(app(3, 1));
    world.settle();
    let old: Vec<AssignmentId> = world.assignments.iter().map(|a| a.id).collect();
    let slots: Vec<SlotId> = world.slots.iter().map(|s| s.id).collect();
    world.app = Some(app(3, 2));
    let mut rounds = 0;
    while !world.plan().is_empty() {
        let actions = world.plan();
        world.carry_out(&actions);
        let down = world
            .assignments
            .iter()
            .filter(|a| a.is_live() && a.observed.phase == Phase::Running)
            .count();
        assert!(down >= 2, "at most one replica is away");
        world.child_acts();
        rounds += 1;
        assert!(rounds < 20);
    }
    assert_eq!(world.running(), [0, 1, 2]);
    assert!(
        world
            .assignments
            .iter()
            .all(|a| !old.contains(&a.id) && a.spec_hash == SpecHash([2; 32]))
    );
    assert_eq!(world.slots.iter().map(|s| s.id).collect::<Vec<_>>(), slots);
}

#[test]
fn a_deletion_ends_with_nothing() {
    let mut world = World::new(app(2, 1));
    world.settle();
    world.app.as_mut().unwrap().deleted_at = Some(Time(5));
    world.settle();
    assert!(world.slots.is_empty() && world.assignments.is_empty() && world.app.is_none());
}

#[test]
fn a_held_instance_is_adopted_and_a_surplus_one_is_stopped() {
    let mut world = World::new(app(1, 1));
    let actions = world.plan();
    world.carry_out(&actions[..1]);
    let slot = world.slots[0].clone();
    let mut found = assign(&slot, AssignmentId(Uuid::from_u128(7)));
    found.desired = Desired::Hold;
    found.observed.phase = Phase::Running;
    world.assignments.push(found);
    world.settle();
    assert_eq!(world.running(), [0]);
    assert_eq!(world.assignments[0].id, AssignmentId(Uuid::from_u128(7)));
    let mut second = assign(&slot, AssignmentId(Uuid::from_u128(8)));
    second.desired = Desired::Hold;
    world.assignments.push(second);
    let actions = world.plan();
    assert!(
        matches!(actions[..], [Action::Order { id, desired: Desired::Stop, why: Why::Surplus, .. }] if id.0.as_u128() == 8),
        "{actions:?}"
    );
}

#[test]
fn a_slot_that_the_parent_saw_running_is_waited_for() {
    let mut world = World::new(app(1, 1));
    let actions = world.plan();
    world.carry_out(&actions[..1]);
    let recorded = crate::records::Incarnation {
        instance: AssignmentId::default(),
        worker: ChildId::default(),
        worker_name: String::new(),
    };
    world.slots[0].upstream = Some(crate::records::Upstream {
        slot: SlotId::default(),
        generation: 1,
        recorded: Some(recorded),
        hold_until: Time(10),
        orphan: false,
        returned: None,
    });
    assert_eq!(world.plan(), [Action::Wait(Time(10))]);
}

#[test]
fn what_the_parent_does_not_name_is_not_started_again() {
    let mut world = World::new(app(1, 1));
    world.settle();
    let slot = world.slots[0].id;
    world.slots[0].upstream = Some(crate::records::Upstream {
        slot: SlotId::default(),
        generation: 1,
        recorded: None,
        hold_until: Time(0),
        orphan: true,
        returned: None,
    });
    assert_eq!(world.plan(), [], "what runs is left alone");
    // Its worker says that it was stopped for good.
    world.assignments.clear();
    assert_eq!(world.plan(), [Action::RemoveSlot(slot)]);
}

proptest! {
    #[test]
    fn any_history_of_wishes_settles(wishes in prop::collection::vec((0u32..8, 0u8..3), 1..8)) {
        let mut world = World::new(app(0, 0));
        for (replicas, spec) in wishes {
            world.app = Some(app(replicas, spec));
            // A few steps only, so that wishes meet half-done work.
            let actions = world.plan();
            world.carry_out(&actions);
            if replicas % 2 == 0 {
                world.child_acts();
            }
        }
        let wanted = world.app.clone().unwrap().services[0].clone();
        world.settle();
        prop_assert_eq!(world.running().len(), wanted.replicas as usize);
        prop_assert!(world.assignments.iter().all(|a| a.spec_hash == wanted.spec_hash));
        let mut ordinals = world.running();
        ordinals.dedup();
        prop_assert_eq!(ordinals.len(), wanted.replicas as usize);
    }
}
