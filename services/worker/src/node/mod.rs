//! The node engine as a state machine: orders of the cluster and sights of the runtimes in, effects out.
//!
//! It is synchronous and deterministic: no clock, no chance, no async runtime; the agent drives it in production and the
//! simulator under virtual time. Laws:
//! - an order is in the ledger before anything of it takes effect, and a start is noted there before it is attempted;
//! - at most one piece of work is under way per instance;
//! - unknown is not absent: nothing is started on a guess, and nothing stops without its own STOP;
//! - without a lease nothing of an exclusive instance runs (`lease`);
//! - after a restart every instance is looked at first, so that what runs is adopted and not started again.
//!
//! Deliberately absent: I/O but the ledger's, and the decisions themselves, which are `edgeio_domain::plan`.

mod accept;
mod advance;
mod engine;
mod finish;
mod job;
mod lease;
#[cfg(test)]
mod tests;
mod types;
mod unit;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeio_domain::{
    child::{Accepted, Capacity},
    ids::{AssignmentId, AttachId, ChildId, SpecHash},
    node::Entry,
    plan::instance::Seen,
    plant::{self, Plant},
    spec::ServiceSpec,
    time::Time,
};
use edgeio_link::{
    child::{CONTESTED, Child, Step},
    convert,
    holdings::{Held, Holdings},
};
use edgeio_proto::link::v1;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::{
    ledger::{Batch, Ledger, LedgerError},
    policy::Policy,
    runtime::RuntimeKind,
};
use engine::Engine;
#[cfg(test)]
pub(crate) use job::test_job;
pub use job::variable;
pub use types::{
    Effect, Fault, FaultClass, Listing, Now, Offer, Op, OpKind, Outcome, Setup, Sight, TAIL_BYTES,
    Willing, capacity,
};
use unit::Unit;

/// A spec as far as this version understands it.
type Spec = Result<Arc<ServiceSpec>, String>;

/// The node engine.
pub struct Node {
    worker: ChildId,
    cluster: Uuid,
    child: Child,
    ledger: Box<dyn Ledger>,
    units: BTreeMap<AssignmentId, Unit>,
    specs: BTreeMap<SpecHash, Spec>,
    tombstones: BTreeMap<AssignmentId, Time>,
    leases: lease::Leases,
    /// What it takes of its own will.
    willing: Willing,
    /// What it lets jobs do.
    policy: Policy,
    engines: BTreeMap<RuntimeKind, Engine>,
    /// What runtimes have under this worker's id and the ledger does not know: left alone, and adopted if it is ordered.
    leftovers: BTreeMap<AssignmentId, (RuntimeKind, Sight)>,
    /// Leftovers of stopped instances that are being removed.
    sweeping: BTreeSet<AssignmentId>,
    capacity: (u64, v1::Capacity),
    effects: Vec<Effect>,
    /// Counts finished work.
    serial: u64,
    /// The ledger failed: it is tried again then, on CLOCK_BOOTTIME.
    ledger_again: Option<Time>,
    /// The time of the last round.
    acted: Now,
    /// The driver was told to register or to attach anew and has not done so yet.
    told: bool,
}

impl Node {
    /// A node as its ledger left it. Everything that it holds is looked at before anything is done.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn open(setup: Setup, mut ledger: Box<dyn Ledger>) -> Result<Self, LedgerError> {
        let durable = ledger.load()?;
        let specs: BTreeMap<SpecHash, Spec> = durable
            .specs
            .iter()
            .map(|(hash, body)| (*hash, decode(body)))
            .collect();
        let engines = setup
            .runtimes
            .into_iter()
            .map(|offer| (offer.kind.clone(), Engine::new(offer)))
            .collect();
        let unit = |entry: Entry| {
            let spec = specs.get(&entry.order.spec_hash);
            let runtime = runtime_of(&entry, spec, &engines);
            (entry.order.id, Unit::new(entry, runtime))
        };
        let units = durable.entries.into_values().map(unit).collect();
        Ok(Self {
            worker: setup.identity.id,
            cluster: setup.cluster,
            ledger,
            units,
            specs,
            tombstones: durable.tombstones,
            leases: lease::Leases::new(setup.identity.boot_id.clone(), durable.renewal),
            willing: Willing::default(),
            policy: Policy::default(),
            engines,
            leftovers: BTreeMap::new(),
            sweeping: BTreeSet::new(),
            capacity: (1, convert::capacity_to_wire(&setup.capacity)),
            effects: Vec::new(),
            serial: 0,
            ledger_again: None,
            acted: Now {
                boot: Time(0),
                wall: Time(0),
            },
            told: false,
            child: Child::new(setup.identity, durable.accepted),
        })
    }

    /// The transport is up, or the session shall be opened anew: begins an attempt under a fresh id.
    pub fn connect(&mut self, attach: AttachId, now: Now) {
        self.told = false;
        self.child.connect(attach, now.boot);
        self.advance(now);
    }

    /// The transport is down. Jobs do not notice.
    pub fn disconnect(&mut self) {
        self.child.disconnect();
    }

    /// Takes a message of the parent.
    ///
    /// # Errors
    /// The ledger failed: nothing of the message has taken effect. The parent sends it again, since the reports go on
    /// naming the point before it.
    pub fn receive(&mut self, message: v1::ParentMessage, now: Now) -> Result<(), LedgerError> {
        let held = Own {
            units: &self.units,
            tombstones: &self.tombstones,
        };
        let mut outcome = Ok(());
        for step in self.child.receive(message, &held, now.boot) {
            match step {
                Step::Accept(acceptance) => {
                    if let Err(fault) = self.accept(&acceptance) {
                        outcome = Err(fault);
                        break;
                    }
                    self.child.accepted(&acceptance);
                }
                Step::Recorded => {}
                // Once is everyday life: the cluster lost its memory, or an old session's message came late.
                Step::Superseded(pause) if pause < CONTESTED => {
                    info!(?pause, "the session is over, opening another");
                }
                Step::Superseded(pause) => warn!(
                    ?pause,
                    "another session of this worker was opened: if this happens again and again, two workers have one data directory"
                ),
                Step::Register(why) => {
                    if !std::mem::replace(&mut self.told, true) {
                        self.effects.push(Effect::Register(why));
                    }
                }
                Step::Incompatible(why) => {
                    self.child.disconnect();
                    self.effects.push(Effect::Incompatible(why));
                }
            }
        }
        self.advance(now);
        outcome
    }

    /// What the worker takes of its own will from now on. What it has taken before stays.
    pub fn restrict(&mut self, willing: Willing) {
        self.willing = willing;
    }

    /// What the worker lets jobs do from now on. What it has taken before stays.
    pub fn allow(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The runtimes or the capacity changed.
    pub fn offer(&mut self, runtimes: Vec<Offer>, capacity: &Capacity, now: Now) {
        for offer in runtimes {
            match self.engines.get_mut(&offer.kind) {
                Some(engine) => engine.offer = offer,
                None => {
                    self.engines.insert(offer.kind.clone(), Engine::new(offer));
                }
            }
        }
        let wire = convert::capacity_to_wire(capacity);
        if self.capacity.1 != wire {
            self.capacity = (self.capacity.0 + 1, wire);
        }
        self.advance(now);
    }

    /// Something changed in a runtime: one instance, or, after lost events, anything.
    pub fn hint(&mut self, runtime: &RuntimeKind, id: Option<AssignmentId>, now: Now) {
        match id {
            Some(id) => {
                if let Some(unit) = self.units.get_mut(&id) {
                    unit.look = true;
                }
            }
            None => {
                if let Some(engine) = self.engines.get_mut(runtime) {
                    engine.again = true;
                }
            }
        }
        self.advance(now);
    }

    /// Tells how far the start of an instance has come.
    pub fn progress(&mut self, id: AssignmentId, reason: &str, text: &str, now: Now) {
        if let Some(unit) = self.units.get_mut(&id)
            && unit.busy.is_some()
        {
            unit.change(|_, status| {
                reason.clone_into(&mut status.reason);
                text.clone_into(&mut status.message);
            });
        }
        self.advance(now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        self.advance(now);
    }

    /// What is to be done, in order. Each is handed out once.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`Node::tick`] has something to do, on CLOCK_BOOTTIME.
    #[must_use]
    pub fn due(&self, now: Now) -> Option<Time> {
        // What was due at the last round already and was not done waits for something else than time.
        let acted = self.acted;
        let scheduled = |unit: &Unit| {
            let at = unit.entry.status.not_before?;
            let wait = at.since(now.wall).min(edgeio_domain::backoff::LONGEST);
            (acted.wall < at).then(|| now.boot + wait)
        };
        let waits = |unit: &Unit| unit.wait.filter(|at| acted.boot < *at);
        let units = self
            .units
            .values()
            .filter(|unit| unit.busy.is_none())
            .flat_map(|unit| [waits(unit), scheduled(unit)]);
        let engines = self.engines.values().map(Engine::due);
        units
            .chain(engines)
            .chain([
                self.ledger_again,
                self.child.due(now.boot),
                self.lease_due(),
            ])
            .flatten()
            .min()
    }

    /// What it holds.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.units.values().map(|unit| &unit.entry)
    }

    /// The point up to which orders are accepted.
    #[must_use]
    pub fn accepted(&self) -> Option<Accepted> {
        self.child.accepted_point()
    }

    /// Whether a session with the parent is open.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.child.is_open()
    }

    /// The instances that run, with their runtime: what telemetry measures.
    pub fn running(&self) -> impl Iterator<Item = (AssignmentId, &RuntimeKind)> {
        self.units
            .values()
            .filter(|unit| unit.seen == Seen::Running)
            .filter_map(|unit| Some((unit.id(), unit.runtime.as_ref()?)))
    }

    /// How long each instance has between the request to stop and the kill, as its spec says.
    #[must_use]
    pub fn graces(&self) -> BTreeMap<AssignmentId, std::time::Duration> {
        let spec = |entry: &Entry| self.specs.get(&entry.order.spec_hash)?.as_ref().ok();
        self.entries()
            .filter_map(|entry| Some((entry.order.id, spec(entry)?.stop_grace)))
            .collect()
    }

    /// The one line at which the node's memory becomes durable.
    fn save(&mut self, batch: Batch) -> Result<(), LedgerError> {
        if plant::on(Plant::LedgerWithoutWrite) {
            return Ok(());
        }
        self.ledger.write(batch)
    }

    /// Notes that the ledger failed; it is tried again a second later, when a full disk may have been cleaned.
    fn ledger_failed(&mut self, fault: &LedgerError, now: Now) {
        error!(error = %edgeio_server::status::chain(fault), "the ledger cannot be written: nothing new is started");
        self.ledger_again = Some(now.boot + std::time::Duration::from_secs(1));
    }
}

/// What a node has persisted, as the link sees it.
struct Own<'a> {
    units: &'a BTreeMap<AssignmentId, Unit>,
    tombstones: &'a BTreeMap<AssignmentId, Time>,
}

impl Holdings for Own<'_> {
    fn held(&self, id: AssignmentId) -> Option<Held> {
        let entry = &self.units.get(&id)?.entry;
        Some(Held {
            generation: entry.order.generation,
            desired: entry.order.desired,
            restart_count: entry.order.restart_count,
            orphan: entry.status.orphan,
        })
    }

    fn is_tombstoned(&self, id: AssignmentId) -> bool {
        self.tombstones.contains_key(&id)
    }

    fn ids(&self) -> Vec<AssignmentId> {
        self.units.keys().copied().collect()
    }
}

fn decode(body: &[u8]) -> Spec {
    edgeio_link::spec::decode(body)
        .map(Arc::new)
        .map_err(|fault| edgeio_server::status::chain(&fault).to_string())
}

/// The runtime that an instance was started in, or that it is to be started in.
fn runtime_of(
    entry: &Entry,
    spec: Option<&Spec>,
    engines: &BTreeMap<RuntimeKind, Engine>,
) -> Option<RuntimeKind> {
    if !entry.status.runtime.is_empty() {
        return Some(RuntimeKind::new(entry.status.runtime.clone()));
    }
    let spec = spec?.as_ref().ok()?;
    if entry.status.touched && spec.runtime.is_empty() {
        // Started by a version that recorded no runtime: to it, no name meant this one.
        return Some(RuntimeKind::DOCKER);
    }
    job::choose(spec, engines.values().map(|engine| &engine.offer))
}
