//! The world: takes events from the queue, hands them to the production loops, and sends what they answer.

use std::{
    collections::{BTreeSet, VecDeque, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use edgeio_domain::{
    ids::{AssignmentId, AttachId, ChildId, IdSource as _},
    time::{Clock as _, Time},
};
use edgeio_store::{Store as _, StoreError, memory::CommitFault};
use edgeio_worker::node::{Effect, Listing, Now};
use futures::executor::block_on;
use rand::Rng as _;

use super::{
    Outcome, Violation,
    check::Memory,
    clock::SimClock,
    machine::{Job, Machine},
    queue::{Part, Queue, Way, Weather, What},
    scenario::{self, Fault},
    tier::Tier,
};

/// Which kind of schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Nothing breaks and every message arrives.
    FaultFree,
    /// Messages are lost, repeated, delayed and reordered; components crash; networks are cut; power is lost.
    Hostile,
}

/// Wishes and faults come in this time.
const TROUBLE: Time = Time(120_000);
/// Then all is healed, and this much later everything must be as wished. Leases, backoffs of jobs and refusals are over.
const CONVERGE: Time = Time(120_000 + 240_000);
/// After a power cut the machine is alone for so long.
const ALONE: i64 = 40_000;
/// A schedule has some thousands of events; ten times that is a loop that feeds itself.
const MOST_EVENTS: u64 = 100_000;
/// Workers of the cluster.
const WORKERS: usize = 2;

pub(super) struct World {
    seed: u64,
    clock: Arc<SimClock>,
    queue: Queue,
    pub(super) root: Tier,
    pub(super) cluster: Tier,
    pub(super) workers: Vec<Machine>,
    pub(super) memory: Memory,
    /// What must run again after a power cut, per worker.
    revive: Vec<BTreeSet<AssignmentId>>,
    events: u64,
    trace: DefaultHasher,
    tail: VecDeque<String>,
    faults: bool,
}

impl World {
    pub(super) fn new(seed: u64, profile: Profile) -> Self {
        let faults = profile == Profile::Hostile;
        let weather = if faults {
            Weather {
                drop: 10,
                repeat: 10,
                delay: 20,
            }
        } else {
            Weather {
                drop: 0,
                repeat: 0,
                delay: 0,
            }
        };
        let clock = Arc::new(SimClock::default());
        let cluster = Tier::new(&clock, 2, "worker", true);
        let machine =
            |n: usize| Machine::new(ChildId(cluster.ids.next()), format!("w{n}"), cluster.id.0);
        let workers = (0..WORKERS).map(machine).collect();
        Self {
            seed,
            root: Tier::new(&clock, 1, "cluster", false),
            cluster,
            workers,
            clock,
            queue: Queue::new(seed, weather),
            memory: Memory::default(),
            revive: vec![BTreeSet::new(); WORKERS],
            events: 0,
            trace: DefaultHasher::new(),
            tail: VecDeque::new(),
            faults,
        }
    }

    pub(super) fn run(mut self) -> Result<Outcome, Violation> {
        match self.begin() {
            Ok(()) => {}
            Err(error) => return Err(self.violation("set-up", error.to_string())),
        }
        scenario::draw(&mut self.queue, WORKERS, self.faults, TROUBLE);
        self.queue.at(CONVERGE, What::Converged);
        let mut healed = false;
        while let Some(what) = self.queue.next() {
            let now = self.queue.now;
            self.clock.set(now);
            if !healed && now >= TROUBLE {
                healed = true;
                self.queue.calm();
            }
            self.note(&what);
            if self.events > MOST_EVENTS {
                return Err(self.violation(
                    "I14 no livelock",
                    format!("{MOST_EVENTS} events and no end"),
                ));
            }
            let last = matches!(what, What::Converged);
            let result = if last {
                self.check_converged()
            } else {
                self.step(what)
            };
            self.watch_root();
            if let Err((invariant, what)) = result {
                return Err(self.violation(invariant, what));
            }
            if last {
                break;
            }
        }
        Ok(Outcome {
            events: self.events,
            trace: self.trace.finish(),
        })
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.root.admit(self.cluster.id, "c", None)?;
        for worker in &self.workers {
            let capacity = worker.setup().capacity;
            self.cluster
                .admit(worker.id, &worker.name, Some(capacity))?;
        }
        for part in [Part::Root, Part::Cluster, Part::Worker(0), Part::Worker(1)] {
            self.queue.at(Time(0), What::Restart(part));
        }
        Ok(())
    }

    fn note(&mut self, what: &What) {
        self.events += 1;
        let text = format!("{} {what:?}", self.queue.now.0);
        text.hash(&mut self.trace);
        if self.tail.len() >= 40 {
            self.tail.pop_front();
        }
        self.tail.push_back(text.chars().take(400).collect());
    }

    fn violation(&self, invariant: &'static str, what: String) -> Violation {
        let tail: Vec<String> = self.tail.iter().cloned().collect();
        Violation {
            seed: self.seed,
            invariant,
            at_ms: self.queue.now.0,
            what,
            tail: format!("{}\n{}", tail.join("\n"), self.dump()),
        }
    }

    fn now(&self) -> Now {
        Now {
            boot: self.clock.boot(),
            wall: self.clock.wall(),
        }
    }

    fn step(&mut self, what: What) -> Result<(), (&'static str, String)> {
        match what {
            What::RootHears(message) => {
                let from = self.cluster.id;
                self.tier(Part::Root, |loops| {
                    block_on(loops.hub.receive(vec![(from, message)]))
                });
            }
            What::ClusterHears(worker, message) => {
                let from = self.workers[worker].id;
                self.tier(Part::Cluster, |loops| {
                    block_on(loops.hub.receive(vec![(from, message)]))
                });
            }
            What::ClusterHearsRoot(message) => self.uplink(message),
            What::WorkerHears(worker, message) => {
                let now = self.now();
                let failed = self.workers[worker]
                    .node
                    .as_mut()
                    .is_some_and(|n| n.receive(message, now).is_err());
                if failed {
                    self.crash(Part::Worker(worker))?;
                }
                self.effects(worker);
            }
            What::Turn(part) => self.turn(part),
            What::Tick(worker, incarnation) => {
                let now = self.now();
                let machine = &mut self.workers[worker];
                if machine.incarnation == incarnation && machine.tick == Some(now.boot) {
                    machine.tick = None;
                    if let Some(node) = &mut machine.node {
                        node.tick(now);
                    }
                    self.effects(worker);
                }
            }
            What::Done(worker, incarnation, op) => {
                if self.workers[worker].incarnation == incarnation
                    && self.workers[worker].node.is_some()
                {
                    let now = self.now();
                    let machine = &mut self.workers[worker];
                    machine.under_way.remove(&op.id);
                    let (recorded, outcome) = machine.act(&op, now);
                    if let Some(node) = &mut machine.node {
                        node.finished(op.id, outcome, now);
                    }
                    self.check_record(worker, recorded)?;
                    self.effects(worker);
                }
            }
            What::Listed(worker, incarnation, runtime) => {
                let now = self.now();
                let machine = &mut self.workers[worker];
                if machine.incarnation == incarnation {
                    let list = machine
                        .jobs
                        .keys()
                        .filter(|_| runtime == super::machine::runtime())
                        .map(|id| (*id, machine.sight(*id, now)))
                        .collect();
                    if let Some(node) = &mut machine.node {
                        node.seen(
                            Listing {
                                runtime,
                                result: Ok(list),
                            },
                            now,
                        );
                    }
                    self.effects(worker);
                }
            }
            What::JobEnds(worker, number) => self.job_ends(worker, number),
            What::Fault(fault) => self.fault(fault)?,
            What::Restart(part) => self.restart(part),
            What::Heal(way) => self.queue.heal(way),
            What::Wish(wish) => self.wish(wish),
            What::Revived(worker) => self.revived(worker)?,
            What::Converged => {}
        }
        Ok(())
    }

    /// Calls a tier's hub and sends what it answers. A store that fails is a process that died at its commit.
    fn tier(
        &mut self,
        part: Part,
        call: impl FnOnce(&super::tier::Loops) -> Result<edgeio_tier::hub::Outbox, StoreError>,
    ) {
        let tier = if part == Part::Root {
            &self.root
        } else {
            &self.cluster
        };
        let Some(loops) = &tier.loops else { return };
        let before = *tier.store.watch().borrow();
        let answer = call(loops);
        let changed = *tier.store.watch().borrow() != before;
        match answer {
            Ok(outbox) => {
                for (child, message) in outbox {
                    match self.workers.iter().position(|w| w.id == child) {
                        Some(worker) => self
                            .queue
                            .send(Way::Bus(worker), What::WorkerHears(worker, message)),
                        None => self
                            .queue
                            .send(Way::Uplink, What::ClusterHearsRoot(message)),
                    }
                }
                if changed {
                    self.want_turn(part);
                }
            }
            Err(_) => self.down(part),
        }
    }

    fn uplink(&mut self, message: edgeio_proto::link::v1::ParentMessage) {
        let Some(uplink) = self.cluster.loops.as_mut().and_then(|l| l.uplink.as_mut()) else {
            return;
        };
        match block_on(uplink.receive(message)) {
            Ok(asked) => {
                if asked.register {
                    let attach = AttachId(self.cluster.ids.next());
                    uplink.connect(attach);
                }
                self.want_turn(Part::Cluster);
            }
            Err(_) => self.down(Part::Cluster),
        }
    }

    fn tier_mut(&mut self, part: Part) -> &mut Tier {
        if part == Part::Root {
            &mut self.root
        } else {
            &mut self.cluster
        }
    }

    /// Wants a turn of a tier's loops soon.
    fn want_turn(&mut self, part: Part) {
        let wait = self.queue.rng.random_range(1..10);
        self.turn_at(part, Time(self.queue.now.0 + wait));
    }

    fn turn_at(&mut self, part: Part, at: Time) {
        let tier = self.tier_mut(part);
        if tier.turn.is_none_or(|turn| at < turn) {
            tier.turn = Some(at);
            self.queue.at(at, What::Turn(part));
        }
    }

    /// One round of a tier's loops, as the tasks of the binaries make them.
    fn turn(&mut self, part: Part) {
        let now = self.queue.now;
        let tier = self.tier_mut(part);
        if tier.turn != Some(now) {
            return;
        }
        tier.turn = None;
        let Some(loops) = &mut tier.loops else { return };
        let before = *tier.store.watch().borrow();
        let ran = block_on(async {
            let outcome = loops.engine.run_once().await;
            outcome.map_err(|edgeio_tier::engine::EngineError::Store(error)| error)?;
            match &mut loops.uplink {
                Some(uplink) => {
                    if uplink.is_silent() {
                        uplink.disconnect();
                        uplink.connect(AttachId(tier.ids.next()));
                    }
                    uplink.poll().await
                }
                None => Ok(Vec::new()),
            }
        });
        let changed = *tier.store.watch().borrow() != before;
        match ran {
            Ok(ups) => {
                for message in ups {
                    self.queue.send(Way::Uplink, What::RootHears(message));
                }
                self.tier(part, |loops| block_on(loops.hub.push()));
                self.tier(part, |loops| block_on(loops.hub.tick()));
                if changed {
                    self.want_turn(part);
                } else {
                    self.turn_at(part, Time(now.0 + 1000));
                }
            }
            Err(_) => self.down(part),
        }
    }

    fn effects(&mut self, worker: usize) {
        let now = self.now();
        loop {
            let machine = &mut self.workers[worker];
            let Some(node) = &mut machine.node else {
                return;
            };
            let effects = node.effects();
            let slots: Vec<_> = node.entries().map(|e| (e.order.id, e.order.slot)).collect();
            for (instance, slot) in slots {
                self.note_instance(instance, slot);
            }
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.effect(worker, effect, now);
            }
        }
        let machine = &mut self.workers[worker];
        let due = machine.node.as_ref().and_then(|node| node.due(now));
        if let Some(due) = due {
            let at = due.max(Time(now.boot.0 + 1));
            if machine.tick.is_none_or(|tick| at < tick || tick < now.boot) {
                machine.tick = Some(at);
                let incarnation = machine.incarnation;
                self.queue.at(at, What::Tick(worker, incarnation));
            }
        }
    }

    fn effect(&mut self, worker: usize, effect: Effect, now: Now) {
        let incarnation = self.workers[worker].incarnation;
        match effect {
            Effect::Send(message) => self
                .queue
                .send(Way::Bus(worker), What::ClusterHears(worker, message)),
            Effect::Run(op) => {
                self.workers[worker].under_way.insert(op.id, op.clone());
                self.queue
                    .within(1..300, What::Done(worker, incarnation, Box::new(op)));
            }
            Effect::List(runtime) => self
                .queue
                .within(1..50, What::Listed(worker, incarnation, runtime)),
            Effect::Register(_) | Effect::Reattach => {
                let attach = AttachId(self.cluster.ids.next());
                if let Some(node) = &mut self.workers[worker].node {
                    node.connect(attach, now);
                }
            }
            Effect::Cancel(_) | Effect::Incompatible(_) => {}
        }
    }

    fn job_ends(&mut self, worker: usize, number: u64) {
        let machine = &mut self.workers[worker];
        let alive: Vec<AssignmentId> = machine.alive().collect();
        if alive.is_empty() {
            return;
        }
        let id = alive[usize::try_from(number % alive.len() as u64).unwrap_or(0)];
        machine.jobs.insert(id, Job::Ended { code: 1 });
        // It may wait for a backoff when the check after a power cut comes.
        self.revive[worker].remove(&id);
        // The runtime tells of most ends; the others are found by the next listing.
        if self.queue.chance(80) {
            let now = self.now();
            if let Some(node) = &mut self.workers[worker].node {
                node.hint(&super::machine::runtime(), Some(id), now);
            }
            self.effects(worker);
        }
    }

    fn fault(&mut self, fault: Fault) -> Result<(), (&'static str, String)> {
        match fault {
            Fault::Crash(part) => self.crash(part)?,
            Fault::Commit(part, after) => {
                let tier = if part == Part::Root {
                    &self.root
                } else {
                    &self.cluster
                };
                let mut armed = Some(if after {
                    CommitFault::After
                } else {
                    CommitFault::Before
                });
                tier.store.on_commit(Some(Box::new(move |_| armed.take())));
            }
            Fault::Cut(way) => {
                self.queue.cut(way);
                self.queue.within(1000..70_000, What::Heal(way));
            }
            Fault::PowerCut(worker) => self.power_cut(worker)?,
        }
        Ok(())
    }

    fn down(&mut self, part: Part) {
        // A dead process takes its armed fault along.
        match part {
            Part::Root => {
                self.root.store.on_commit(None);
                self.root.loops = None;
            }
            Part::Cluster => {
                self.cluster.store.on_commit(None);
                self.cluster.loops = None;
            }
            Part::Worker(worker) => self.workers[worker].node = None,
        }
        self.queue.within(200..8000, What::Restart(part));
    }

    fn crash(&mut self, part: Part) -> Result<(), (&'static str, String)> {
        if let Part::Worker(worker) = part {
            self.workers[worker].incarnation += 1;
            // What was under way may have happened or not.
            let under_way = std::mem::take(&mut self.workers[worker].under_way);
            for op in under_way.into_values() {
                if self.queue.chance(50) {
                    let now = self.now();
                    let (recorded, _) = self.workers[worker].act(&op, now);
                    self.check_record(worker, recorded)?;
                }
            }
        }
        self.down(part);
        Ok(())
    }

    fn restart(&mut self, part: Part) {
        let now = self.now();
        match part {
            Part::Root | Part::Cluster => {
                let tier = self.tier_mut(part);
                if tier.loops.is_none() && tier.start().is_err() {
                    return self.down(part);
                }
                self.want_turn(part);
                self.tier(part, |loops| block_on(loops.hub.greet()));
            }
            Part::Worker(worker) => {
                let attach = AttachId(self.cluster.ids.next());
                let machine = &mut self.workers[worker];
                if machine.node.is_none() && machine.start().is_ok() {
                    if let Some(node) = &mut machine.node {
                        node.connect(attach, now);
                        node.tick(now);
                    }
                    self.effects(worker);
                }
            }
        }
    }

    fn power_cut(&mut self, worker: usize) -> Result<(), (&'static str, String)> {
        let now = self.now();
        let machine = &self.workers[worker];
        let settled = |id: &AssignmentId| {
            let Some(Job::Running { since }) = machine.jobs.get(id) else {
                return false;
            };
            let known = machine
                .node
                .as_ref()
                .and_then(|node| node.entries().find(|e| e.order.id == *id));
            now.boot.0 - since.0 > 5000
                && known.is_some_and(|e| {
                    e.order.desired == edgeio_domain::records::Desired::Run
                        && e.status.failures == 0
                        && e.status.running_since.is_some()
                })
        };
        self.revive[worker] = machine.alive().filter(|id| settled(id)).collect();
        let ways = Way::Bus(worker);
        self.queue.cut(ways);
        self.crash(Part::Worker(worker))?;
        for job in self.workers[worker].jobs.values_mut() {
            *job = Job::Ended { code: 137 };
        }
        let back = self.queue.now.0 + ALONE;
        self.queue.at(Time(back), What::Revived(worker));
        self.queue.at(Time(back + 1), What::Heal(ways));
        Ok(())
    }

    /// A worker that lost power and was alone since must run again what it ran before.
    fn revived(&mut self, worker: usize) -> Result<(), (&'static str, String)> {
        let expected = std::mem::take(&mut self.revive[worker]);
        if self.workers[worker].node.is_none() || self.queue.now >= TROUBLE {
            return Ok(());
        }
        let alive: BTreeSet<AssignmentId> = self.workers[worker].alive().collect();
        match expected.difference(&alive).next() {
            Some(id) => Err((
                "I7 autonomy",
                format!("worker {worker} does not run {id} after a power cut without network"),
            )),
            None => Ok(()),
        }
    }

    fn wish(&mut self, wish: scenario::Wish) {
        if self.root.loops.is_none() {
            return;
        }
        let uid = self.root.ids.next();
        let answer = block_on(scenario::wish(
            &*self.root.store,
            &wish,
            uid,
            self.clock.wall(),
        ));
        match answer {
            Ok(Some(replicas)) => {
                let (name, kept) = match wish {
                    scenario::Wish::Apply { name, .. } => (name, Some(replicas)),
                    scenario::Wish::Delete { name } => (name, None),
                };
                self.memory.wishes.insert(name, kept);
                self.want_turn(Part::Root);
            }
            Ok(None) => {}
            Err(_) => {
                // It may have been written or not; the user does not know and asks again later.
                let name = match wish {
                    scenario::Wish::Apply { name, .. } | scenario::Wish::Delete { name } => name,
                };
                self.memory.wishes.remove(&name);
                self.down(Part::Root);
            }
        }
    }
}
