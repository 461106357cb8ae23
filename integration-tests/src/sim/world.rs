//! The world: takes events from the queue and hands them to the production loops, until all is as wished or something broke.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use edgeio_domain::{ids::ChildId, time::Time};
use edgeio_proto::link::v1;
use edgeio_store::Revision;
use edgeio_tier::context::Times;
use edgeio_worker::node::Listing;

use super::{
    Outcome, Violation,
    check::{Broken, Memory},
    clock::{SimIds, Timeline},
    faults,
    machine::{Machine, runtime},
    network::{Network, Weather},
    profile::Profile,
    queue::{Part, Queue, What},
    tier::{Bridge, Cluster, Database, Process},
    topology::Topology,
    trace::Trace,
    users::{self, User},
};

pub(super) type Checked = Result<(), Broken>;

/// After trouble, so long until it is first looked whether everything is as wished, in milliseconds.
const FIRST_LOOK: i64 = 30_000;
/// Between looks. Nothing may have changed in any database in between: heartbeats are all that is exchanged.
const LOOK_AGAIN: i64 = 20_000;
/// Trouble is over for so long at most until everything is as wished: leases, backoffs of jobs and refusals are over.
const CONVERGE: i64 = 360_000;
/// A schedule has some thousands of events; many times that is a loop that feeds itself.
const MOST_EVENTS: u64 = 200_000;
/// Messages that are remembered, to be sent again by somebody evil.
const OVERHEARD: usize = 64;

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) profile: Profile,
    pub(super) timeline: Arc<Timeline>,
    pub(super) ids: Arc<SimIds>,
    pub(super) queue: Queue,
    pub(super) network: Network,
    pub(super) root: Database,
    pub(super) roots: Vec<Process>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) bridges: Vec<Bridge>,
    pub(super) machines: Vec<Machine>,
    pub(super) users: Vec<User>,
    pub(super) tight: bool,
    /// Times of all tiers.
    pub(super) times: Times,
    pub(super) memory: Memory,
    /// Parts that stand still until then.
    pub(super) frozen: BTreeMap<Part, Time>,
    /// The bridge by which each worker was heard last.
    pub(super) heard_by: BTreeMap<ChildId, usize>,
    /// Messages that somebody may have kept.
    pub(super) overheard: VecDeque<What>,
    /// Trouble ends then.
    pub(super) trouble: Time,
    pub(super) healed: bool,
    /// Everything must be as wished then.
    deadline: Time,
    /// Revisions of all databases when everything was as wished at the last look.
    rest: Option<Vec<Revision>>,
    pub(super) trace: Trace,
}

impl World {
    pub(super) fn new(seed: u64, profile: Profile, keep: usize) -> Self {
        let mut queue = Queue::new(seed);
        let topology = Topology::draw(&mut queue);
        // In half of the worlds messages are cut so small that short lists come in many parts.
        let small = (seed / 7).is_multiple_of(2).then_some(700);
        edgeio_link::chunk::set_limit(small);
        let trouble = Time(queue.draw(70_000..140_000));
        Self {
            seed,
            profile,
            timeline: topology.timeline,
            ids: topology.ids,
            network: Network::new(Weather::CALM, Time(trouble.0 + FIRST_LOOK)),
            root: topology.root,
            roots: topology.roots,
            clusters: topology.clusters,
            bridges: topology.bridges,
            machines: topology.machines,
            users: Vec::new(),
            tight: topology.tight,
            times: topology.times,
            memory: Memory::default(),
            frozen: BTreeMap::new(),
            heard_by: BTreeMap::new(),
            overheard: VecDeque::new(),
            trouble,
            healed: false,
            deadline: Time(trouble.0 + CONVERGE),
            rest: None,
            trace: Trace::new(keep),
            queue,
        }
    }

    pub(super) fn run(mut self) -> Result<Outcome, Violation> {
        self.begin();
        while let Some(what) = self.queue.next() {
            self.timeline.set(self.queue.now);
            self.trace.note(self.queue.now, &what);
            if self.trace.events > MOST_EVENTS {
                let what = format!("{MOST_EVENTS} events and no end");
                return Err(self.violation(Broken::new("I14 no livelock", what)));
            }
            let stepped = if let What::Verify(_) = what {
                match self.verify() {
                    Ok(true) => break,
                    Ok(false) => Ok(()),
                    Err(broken) => Err(broken),
                }
            } else {
                self.step(what)
                    .and_then(|()| self.watch())
                    .and_then(|()| self.check_pairs())
            };
            if let Err(broken) = stepped {
                return Err(self.violation(broken));
            }
        }
        let revisions = self.revisions();
        Ok(Outcome {
            events: self.trace.events,
            virtual_ms: self.queue.now.0,
            end: self.ends(),
            told: self.trace.tail(),
            trace: self.trace.finish(&revisions),
        })
    }

    fn begin(&mut self) {
        users::draw(self);
        self.memory.know(&self.users);
        // The world and the wishes are those of the seed, whatever breaks.
        self.queue.fork(self.profile as u64);
        self.network.weather = self.profile.weather(&mut self.queue.rng);
        if self.profile == Profile::Time {
            let clocks = self.roots.iter().map(|r| &r.clock);
            let clocks = clocks.chain(self.clusters.iter().map(|c| &c.process.clock));
            for clock in clocks.chain(self.machines.iter().map(|m| &m.clock)) {
                clock.drift(self.queue.draw(950_000..1_050_001));
            }
        }
        let mut parts: Vec<Part> = (0..self.roots.len()).map(Part::Root).collect();
        parts.extend((0..self.clusters.len()).map(Part::Cluster));
        parts.extend((0..self.machines.len()).map(Part::Worker));
        for part in parts {
            self.queue.within(0..20, What::Restart(part));
        }
        faults::draw(self);
        self.queue.at(self.trouble, What::Heal);
        let first = Time(self.trouble.0 + FIRST_LOOK);
        self.queue.at(first, What::Verify(0));
    }

    /// Whether everything is as wished, was so at the last look, and nothing happened in between.
    fn verify(&mut self) -> Result<bool, Broken> {
        let again = |world: &mut Self| {
            let at = Time(world.queue.now.0 + LOOK_AGAIN);
            world.queue.at(at, What::Verify(1));
        };
        let converged = self.check_converged();
        let revisions = self.revisions();
        let rested = self.rest.as_ref() == Some(&revisions);
        match converged {
            Err(broken) if self.queue.now >= self.deadline => return Err(broken),
            Err(_) => self.rest = None,
            Ok(()) if rested => {
                // The last messages come an hour late, to a world that is at rest. They must change nothing.
                if !self.network.come_late(&mut self.queue) {
                    return Ok(true);
                }
                self.rest = None;
                self.deadline = Time(self.queue.now.0 + CONVERGE);
            }
            Ok(()) if self.queue.now >= self.deadline => {
                let what = format!("revisions {:?} became {revisions:?}", self.rest);
                return Err(Broken::new("I14 no rest", what));
            }
            Ok(()) => self.rest = Some(revisions),
        }
        again(self);
        Ok(false)
    }

    /// The newest revision of each database at which a record changed: leases are renewed for ever.
    fn revisions(&self) -> Vec<Revision> {
        let all = self.clusters.iter().filter(|c| !c.is_clone);
        std::iter::once(&self.root)
            .chain(all.map(|c| &c.database))
            .map(|d| d.store.snapshot().newest_change())
            .collect()
    }

    fn violation(&self, broken: Broken) -> Violation {
        Violation {
            seed: self.seed,
            profile: self.profile,
            invariant: broken.invariant,
            at_ms: self.queue.now.0,
            what: broken.what,
            tail: if self.trace.keeps() {
                format!("{}\n{}", self.trace.tail(), self.dump())
            } else {
                String::new()
            },
        }
    }

    /// Until when the parts that an event needs stand still.
    fn thaws(&self, what: &What) -> Option<Time> {
        if self.frozen.is_empty() {
            return None;
        }
        let parts = match what {
            What::RootHears(root, ..) => [Some(Part::Root(*root)), None],
            What::ClusterHearsRoot(cluster, ..) | What::HangUp(cluster, _) => {
                [Some(Part::Cluster(*cluster)), None]
            }
            What::ClusterHears(bridge, ..) => {
                let cluster = self.bridges[*bridge].cluster;
                [Some(Part::Bridge(*bridge)), Some(Part::Cluster(cluster))]
            }
            What::Dial(cluster, _) => [Some(Part::Cluster(*cluster)), None],
            What::WorkerHears(worker, _)
            | What::Tick(worker, ..)
            | What::Done(worker, ..)
            | What::Listed(worker, ..)
            | What::Register(worker, _)
            | What::JobEnds(worker, _) => [Some(Part::Worker(*worker)), None],
            What::Loop(part, ..) => [Some(*part), None],
            What::Fault(_)
            | What::Restart(_)
            | What::Mend(_)
            | What::Unclog(_)
            | What::Room(_)
            | What::Act(_)
            | What::Order(_)
            | What::Revived(_)
            | What::Heal
            | What::Verify(_) => [None, None],
        };
        let until = |part: &Part| self.frozen.get(part).copied();
        let latest = parts.iter().flatten().filter_map(until).max();
        latest.filter(|until| *until > self.queue.now)
    }

    fn step(&mut self, what: What) -> Checked {
        if let Some(until) = self.thaws(&what) {
            self.queue.at(until, what);
            return Ok(());
        }
        match what {
            What::RootHears(root, cluster, message) => self.root_hears(root, cluster, *message)?,
            What::ClusterHears(bridge, worker, message) => {
                self.cluster_hears(bridge, worker, *message)?;
            }
            What::ClusterHearsRoot(cluster, root, message) => {
                self.cluster_hears_root(cluster, root, *message);
            }
            What::WorkerHears(worker, message) => self.worker_hears(worker, *message)?,
            What::Loop(part, task, at) => self.run_loop(part, task, at)?,
            What::Tick(worker, incarnation, at) => {
                let machine = &mut self.machines[worker];
                if machine.incarnation == incarnation && machine.tick == Some(at) {
                    machine.tick = None;
                    self.node(worker, |node, now| node.tick(now))?;
                }
            }
            What::Done(worker, incarnation, op) => {
                let machine = &mut self.machines[worker];
                if machine.incarnation == incarnation && machine.node.is_some() {
                    let now = machine.now();
                    machine.under_way.remove(&op.id);
                    let (recorded, outcome) = machine.act(&op, now);
                    self.check_record(worker, recorded)?;
                    self.node(worker, |node, now| node.finished(op.id, outcome, now))?;
                }
            }
            What::Listed(worker, incarnation, kind) => {
                let machine = &mut self.machines[worker];
                if machine.incarnation == incarnation {
                    let now = machine.now();
                    let list = machine
                        .jobs
                        .keys()
                        .filter(|_| kind == runtime())
                        .map(|id| (*id, machine.sight(*id, now)))
                        .collect();
                    let listing = Listing {
                        runtime: kind,
                        result: Ok(list),
                    };
                    self.node(worker, |node, now| node.seen(listing, now))?;
                }
            }
            What::Register(worker, incarnation) => self.register(worker, incarnation)?,
            What::Dial(cluster, number) => self.dial(cluster, number),
            What::HangUp(cluster, number) => self.hang_up(cluster, number),
            What::JobEnds(worker, number) => self.job_ends(worker, number)?,
            What::Fault(fault) => self.fault(*fault)?,
            What::Restart(part) => self.restart(part)?,
            What::Mend(lane) => self.network.mend(lane),
            What::Unclog(lane) => self.network.unclog(&mut self.queue, lane),
            What::Room(part) => self.room(part),
            What::Act(user) => self.act(user)?,
            What::Order(order) => self.order(&order)?,
            What::Revived(worker) => self.revived(worker)?,
            What::Heal => self.heal()?,
            What::Verify(_) => {}
        }
        Ok(())
    }

    /// Keeps a message for somebody evil.
    pub(super) fn overhear(&mut self, what: impl FnOnce() -> What) {
        if self.profile == Profile::Hostile && !self.healed && self.queue.chance(10) {
            if self.overheard.len() >= OVERHEARD {
                self.overheard.pop_front();
            }
            self.overheard.push_back(what());
        }
    }
}

/// The number of the session that a message of a child names; 0 for one that opens a session.
pub(super) fn session_of(message: &v1::ChildMessage) -> u64 {
    match &message.message {
        Some(v1::child_message::Message::Report(report)) => report.session_epoch,
        Some(v1::child_message::Message::Hello(_) | v1::child_message::Message::Telemetry(_))
        | None => 0,
    }
}
