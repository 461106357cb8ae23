//! What became of the root's slots, as it is told up.

use std::collections::BTreeMap;

use edgeio_domain::{
    child::{Accepted, Child},
    digest::{self, Digest16},
    ids::{AssignmentId, ChildId, SlotId},
    lifecycle::Phase,
    records::{Assignment, Desired, Incarnation, Owner, Slot},
    time::Time,
};
use edgeio_link::{convert, reports::StateVersion};
use edgeio_proto::link::v1;
use edgeio_store::{ApplicationFilter, AssignmentFilter, SlotFilter, StoreError};
use edgeio_tier::context::Context;

use super::{capacity, owned::Applications};

/// One slot's state.
struct State {
    report: v1::InstanceReport,
    running_since: Option<Time>,
    phase: Phase,
    desired: Desired,
    version: StateVersion,
    /// It is of an application of the cluster's own.
    owned: bool,
}

/// What the root has agreed to hear of.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// The applications that the cluster owns.
    pub(super) owned: bool,
    /// Slots that are handed back while an instance of them may run on a worker that is silent.
    pub(super) silent_returns: bool,
}

/// All of them, and what the cluster offers.
#[derive(Default)]
pub(super) struct States {
    states: BTreeMap<AssignmentId, State>,
    capacity: v1::Capacity,
    capacity_version: u64,
    version: StateVersion,
    /// The newest point of the root of which everything has a place here.
    settled: Option<Accepted>,
    /// By the wall clock: states change then without a change in the database.
    again: Option<Time>,
    /// The cluster's own applications; their slots are among the states.
    applications: Applications,
    /// Own slots that are no more, and were not handed out yet.
    lost: Vec<v1::InstanceReport>,
}

impl States {
    /// Reads the database again; what differs gets a new version.
    pub(super) async fn refresh(
        &mut self,
        context: &Context,
        accepted: Option<Accepted>,
        told: Told,
    ) -> Result<(), StoreError> {
        let tx = context.store.read().await?;
        let slots = tx
            .slots(&SlotFilter {
                upstream: (!told.owned).then_some(true),
                ..Default::default()
            })
            .await?;
        if told.owned {
            let own = ApplicationFilter {
                owner: Some(context.own),
                ..Default::default()
            };
            self.applications.refresh(tx.applications(&own).await?);
        } else {
            self.applications.clear();
            self.states.retain(|_, state| !state.owned);
        }
        let assignments = tx.assignments(&AssignmentFilter::default()).await?;
        let children = tx.children().await?;
        let workers: BTreeMap<ChildId, &Child> = children.iter().map(|c| (c.id, c)).collect();
        let mut of_slot: BTreeMap<SlotId, Vec<&Assignment>> = BTreeMap::new();
        for assignment in &assignments {
            of_slot.entry(assignment.slot).or_default().push(assignment);
        }
        let mut before = std::mem::take(&mut self.states);
        let now = context.clock.wall();
        self.again = None;
        for slot in &slots {
            let id = AssignmentId(slot.id.0);
            let mine = of_slot.get(&slot.id).map_or(&[][..], Vec::as_slice);
            let awaited = awaited(slot, mine, now);
            self.again = [self.again, awaited].into_iter().flatten().min();
            let mut state = state_of(slot, mine, &workers, awaited.is_some(), told);
            state.version = match before.remove(&id) {
                Some(old) if old.report == state.report && same_start(&old, &state) => old.version,
                Some(_) | None => {
                    self.version += 1;
                    self.version
                }
            };
            self.states.insert(id, state);
        }
        // What the root wanted stays until the root has recorded that it stopped; of the cluster's own it only hears.
        let gone = before.into_values().filter(|state| state.owned);
        let gone = gone.filter(|state| state.phase != Phase::Stopped);
        self.lost.extend(gone.map(|state| v1::InstanceReport {
            phase: v1::Phase::Stopped.into(),
            incarnation: None,
            ..state.report
        }));
        // A slot without a place is in nobody's free amounts yet: until it is, the root keeps its own reservation.
        // It has none for what it does not know.
        let held = |s: &Slot| s.upstream.as_ref().is_some_and(|up| up.orphan);
        let waiting = slots
            .iter()
            .filter(|s| s.upstream.is_some())
            .any(|s| s.desired != Desired::Stop && !held(s) && !of_slot.contains_key(&s.id));
        let same =
            |a: &Accepted, b: &Accepted| (a.lineage, a.issuer_epoch) == (b.lineage, b.issuer_epoch);
        if !waiting {
            self.settled = accepted;
        } else if !matches!((&self.settled, &accepted), (Some(a), Some(b)) if same(a, b)) {
            self.settled = None;
        }
        let included = self.settled.map_or(0, |settled| settled.revision);
        let capacity = capacity::of(&children, &assignments, included);
        if capacity != self.capacity {
            self.capacity = capacity;
            self.capacity_version += 1;
        }
        Ok(())
    }

    pub(super) fn versions(&self) -> Vec<(AssignmentId, StateVersion)> {
        self.states
            .iter()
            .map(|(id, state)| (*id, state.version))
            .collect()
    }

    /// Digests of what is held and of its states, as the link compares them.
    pub(super) fn digests(&self) -> (Digest16, Digest16) {
        // What the root does not name or does not own has no order there either.
        let held = self
            .states
            .iter()
            .filter(|(_, s)| !s.report.orphan && !s.owned)
            .map(|(id, s)| (*id, s.report.generation, s.desired, s.report.restart_count));
        // Of what this cluster owns, the root keeps all that is there.
        let told = self.states.iter().filter(|(_, s)| {
            if s.owned {
                s.phase != Phase::Stopped
            } else {
                s.desired != Desired::Stop
            }
        });
        (
            digest::assignments(held),
            digest::states(told.map(|(id, s)| (*id, s.phase, s.report.restarts))),
        )
    }

    /// Whether states have changed by the passing of time.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.again.is_some_and(|at| at <= now)
    }

    pub(super) fn render(&self, id: AssignmentId, now: Time) -> Option<v1::InstanceReport> {
        let state = self.states.get(&id)?;
        let age = |since: Time| u64::try_from(now.since(since).as_millis()).unwrap_or(0);
        Some(v1::InstanceReport {
            running_for_ms: state.running_since.map(age),
            ..state.report.clone()
        })
    }

    pub(super) fn capacity(&self) -> (u64, &v1::Capacity) {
        (self.capacity_version, &self.capacity)
    }

    /// What was stopped as the root wished, with the generation of the order that its state answers.
    pub(super) fn stopped(&self) -> impl Iterator<Item = (AssignmentId, StateVersion, u64)> {
        let done = |s: &State| !s.owned && s.desired == Desired::Stop && s.phase == Phase::Stopped;
        self.states
            .iter()
            .filter(move |(_, s)| done(s))
            .map(|(id, s)| (*id, s.version, s.report.generation))
    }

    pub(super) fn applications(&self) -> &Applications {
        &self.applications
    }

    /// What is no more of the cluster's own slots and applications; each is handed out once.
    pub(super) fn lost(&mut self) -> (Vec<v1::InstanceReport>, Vec<v1::OwnedApplication>) {
        (std::mem::take(&mut self.lost), self.applications.lost())
    }

    pub(super) fn forget(&mut self, id: AssignmentId) {
        self.states.remove(&id);
    }
}

/// Whether two states began to run at the same time, as far as a report tells.
fn same_start(a: &State, b: &State) -> bool {
    a.running_since == b.running_since
}

/// Until when an instance that the root had recorded may come back: this cluster lost its memory and the worker has not
/// reported since. `None` if there is nothing to wait for.
fn awaited(slot: &Slot, assignments: &[&Assignment], now: Time) -> Option<Time> {
    let upstream = slot.upstream.as_ref()?;
    let waits = upstream.recorded.is_some() && assignments.is_empty() && now < upstream.hold_until;
    waits.then_some(upstream.hold_until)
}

fn state_of(
    slot: &Slot,
    assignments: &[&Assignment],
    workers: &BTreeMap<ChildId, &Child>,
    awaited: bool,
    told: Told,
) -> State {
    let upstream = slot.upstream.as_ref();
    let hears = |a: &Assignment| workers.get(&a.child).is_some_and(|c| c.state.is_heard());
    // Of an instance and its substitute, the one that is heard stands for the slot.
    let live = assignments
        .iter()
        .filter(|a| a.desired != Desired::Stop)
        .max_by_key(|a| (hears(a), a.id));
    // What may run cannot be heard, and there is no room for a substitute.
    let handed_back = told.silent_returns
        && live.is_some_and(|a| !hears(a))
        && upstream.is_some_and(|up| up.returned.is_some());
    let any = live.or_else(|| assignments.iter().max_by_key(|a| a.id));
    let mut report = v1::InstanceReport {
        id: slot.id.to_string(),
        slot_id: upstream.map_or(slot.id, |u| u.slot).to_string(),
        // Nobody above orders what this cluster owns, so that has one generation.
        generation: upstream.map_or(1, |u| u.generation),
        restart_count: slot.restart_count,
        spec_hash: slot.spec_hash.0.to_vec(),
        desired: convert::desired_to_wire(slot.desired).into(),
        namespace: slot.app.namespace.to_string(),
        application: slot.app.name.to_string(),
        application_uid: slot.app_uid.to_string(),
        service: slot.service.to_string(),
        ordinal: slot.ordinal,
        orphan: upstream.is_some_and(|u| u.orphan),
        owner: match slot.app.owner {
            Owner::Root => String::new(),
            Owner::Cluster(id) => id.to_string(),
        },
        ..Default::default()
    };
    let mut running_since = None;
    if awaited {
        // Still where the root recorded it. Without it the root would forget, and this cluster, should it lose its memory
        // once more, would not wait again.
        let recorded = upstream.and_then(|up| up.recorded.as_ref());
        report.incarnation = recorded.map(convert::incarnation_to_wire);
    }
    if let Some(assignment) = any {
        let observed = &assignment.observed;
        report.unreachable = !hears(assignment);
        report.reason.clone_from(&observed.reason);
        report.message.clone_from(&observed.message);
        report.exit_code = observed.exit_code;
        report.restarts = observed.restarts;
        report.output_tail.clone_from(&observed.output_tail);
        report.image_digest.clone_from(&observed.image_digest);
        report.handle.clone_from(&observed.handle);
        report.incarnation = Some(convert::incarnation_to_wire(&Incarnation {
            instance: assignment.id,
            worker: assignment.child,
            worker_name: workers
                .get(&assignment.child)
                .map_or_else(String::new, |worker| worker.display()),
        }));
        running_since = observed.running_since.filter(|_| !handed_back);
    }
    let phase = match (slot.desired, any) {
        (Desired::Stop, None) if awaited => Phase::Stopping,
        (Desired::Stop, None) => Phase::Stopped,
        (Desired::Stop, Some(_)) => Phase::Stopping,
        (Desired::Run | Desired::Pause | Desired::Hold, Some(_)) if handed_back => Phase::Pending,
        // Until the engine has looked for a place, there is nothing to tell but that it is accepted.
        (Desired::Run | Desired::Pause | Desired::Hold, None) if slot.pending.is_empty() => {
            Phase::Scheduled
        }
        (Desired::Run | Desired::Pause | Desired::Hold, None) => Phase::Pending,
        (Desired::Run | Desired::Pause | Desired::Hold, Some(a)) if a.desired == Desired::Stop => {
            Phase::Stopping
        }
        (Desired::Run | Desired::Pause | Desired::Hold, Some(a)) => a.observed.phase,
    };
    if phase == Phase::Pending {
        report.candidates = convert::candidates_to_wire(&slot.pending);
        report.rejection = upstream
            .and_then(|u| u.returned.clone())
            .map(|message| v1::Rejection {
                reason: v1::RejectionReason::Unplaceable.into(),
                message,
            });
    }
    report.phase = convert::phase_to_wire(phase).into();
    State {
        report,
        running_since,
        phase,
        desired: slot.desired,
        version: 0,
        owned: upstream.is_none(),
    }
}
