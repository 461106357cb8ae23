//! A worker's machine: the agent, which crashes, and the ledger and the jobs, which stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeio_domain::{
    ids::{AssignmentId, ChildId},
    plan::instance::{Exit, Seen},
    records::Desired,
    resources::Resources,
    time::{Clock as _, Time},
};
use edgeio_link::child::Identity;
use edgeio_worker::{
    ledger::{LedgerError, MemoryLedger},
    node::{Node, Now, Offer, Op, OpKind, Outcome, Setup, Sight, capacity},
    runtime::{Feature, RuntimeKind},
};
use uuid::Uuid;

use super::clock::SimClock;

/// What a job takes of its worker's CPU, in millicores.
pub(super) const JOB_CPU: i64 = 100;

/// How a job stands in the runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Job {
    Running { since: Time },
    Paused { since: Time },
    Ended { code: i32 },
}

/// What the runtime recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Recorded {
    Started(AssignmentId),
    /// Stopped and removed because the node asked for it.
    Removed(AssignmentId),
    Nothing,
}

/// A worker's machine.
pub(super) struct Machine {
    pub(super) id: ChildId,
    pub(super) name: String,
    /// Its cluster.
    pub(super) cluster: usize,
    pub(super) clock: Arc<SimClock>,
    pub(super) ledger: MemoryLedger,
    pub(super) jobs: BTreeMap<AssignmentId, Job>,
    /// `None` while the agent is down.
    pub(super) node: Option<Node>,
    /// Counts the agent's starts: answers to an earlier one are lost.
    pub(super) incarnation: u64,
    /// Work that is under way; a crash may or may not have let it happen.
    pub(super) under_way: BTreeMap<AssignmentId, Op>,
    /// When its timers are looked at, by the schedule's time.
    pub(super) tick: Option<Time>,
    /// Millicores that it has, and that it says to have.
    pub(super) room: i64,
    pub(super) says: i64,
    /// When its cluster recorded something that it said.
    pub(super) heard_at: Time,
    /// What must run again after a power cut.
    pub(super) revive: BTreeSet<AssignmentId>,
    /// Since when its agent can act, or will.
    pub(super) acts_since: Time,
    /// Writes of its ledger fail.
    pub(super) ledger_fails: bool,
    /// When its disk was seen to be full last.
    pub(super) full_at: Option<Time>,
    /// How often it was started.
    pub(super) boots: u32,
    /// It is a copy of another one's disk.
    pub(super) is_clone: bool,
    /// It is switched off for good.
    pub(super) is_off: bool,
    cluster_id: Uuid,
}

pub(super) fn runtime() -> RuntimeKind {
    RuntimeKind::new("fake")
}

impl Machine {
    pub(super) fn new(
        (id, name): (ChildId, String),
        (cluster, cluster_id): (usize, Uuid),
        clock: Arc<SimClock>,
        room: i64,
    ) -> Self {
        Self {
            id,
            name,
            cluster,
            clock,
            ledger: MemoryLedger::default(),
            jobs: BTreeMap::new(),
            node: None,
            incarnation: 0,
            under_way: BTreeMap::new(),
            tick: None,
            room,
            says: room,
            heard_at: Time(0),
            revive: BTreeSet::new(),
            acts_since: Time(0),
            ledger_fails: false,
            full_at: None,
            boots: 0,
            is_clone: false,
            is_off: false,
            cluster_id,
        }
    }

    /// Another machine with a copy of this one's disk. Its jobs are its own.
    pub(super) fn copy(&self, clock: Arc<SimClock>) -> Self {
        let name = format!("{}-copy", self.name);
        let mut copy = Self::new(
            (self.id, name),
            (self.cluster, self.cluster_id),
            clock,
            self.room,
        );
        copy.ledger = self.ledger.fork();
        copy.is_clone = true;
        copy
    }

    pub(super) fn now(&self) -> Now {
        Now {
            boot: self.clock.boot(),
            wall: self.clock.wall(),
        }
    }

    pub(super) fn offers() -> Vec<Offer> {
        let features = [Feature::Images, Feature::Pause, Feature::Limits]
            .into_iter()
            .collect();
        vec![
            Offer {
                kind: runtime(),
                features,
                available: true,
            },
            // A runtime that never has anything: what it does not list says nothing of the other's instances.
            Offer {
                kind: RuntimeKind::new("idle"),
                features: BTreeSet::default(),
                available: true,
            },
        ]
    }

    /// What it says to have.
    pub(super) fn offered(&self) -> edgeio_domain::child::Capacity {
        let room = Resources {
            cpu_millis: self.says,
            memory_bytes: 64 << 30,
        };
        capacity("amd64", &Self::offers(), room)
    }

    fn setup(&self) -> Setup {
        Setup {
            identity: Identity {
                id: self.id,
                version: String::new(),
                boot_id: format!("{}-{}", self.name, self.boots),
            },
            cluster: self.cluster_id,
            capacity: self.offered(),
            runtimes: Self::offers(),
        }
    }

    /// Starts the agent from its ledger.
    pub(super) fn start(&mut self, now: Time) -> Result<(), LedgerError> {
        self.incarnation += 1;
        self.acts_since = self.acts_since.max(now);
        self.tick = None;
        self.node = Some(Node::open(self.setup(), Box::new(self.ledger.clone()))?);
        Ok(())
    }

    /// Every running or frozen job.
    pub(super) fn alive(&self) -> impl Iterator<Item = AssignmentId> {
        self.jobs
            .iter()
            .filter(|(_, job)| !matches!(job, Job::Ended { .. }))
            .map(|(id, _)| *id)
    }

    /// Whether its agent was ordered to stop an instance.
    pub(super) fn must_stop(&self, id: AssignmentId) -> bool {
        let mut entries = self.node.iter().flat_map(Node::entries);
        entries.any(|e| e.order.id == id && e.order.desired == Desired::Stop)
    }

    pub(super) fn sight(&self, id: AssignmentId, now: Now) -> Sight {
        let Some(job) = self.jobs.get(&id) else {
            return Sight::absent();
        };
        let wall = |boot: Time| Time(now.wall.0 - (now.boot.0 - boot.0));
        let (seen, since) = match job {
            Job::Running { since } => (Seen::Running, Some(wall(*since))),
            Job::Paused { since } => (Seen::Paused, Some(wall(*since))),
            Job::Ended { code } => (
                Seen::Exited(Exit {
                    code: *code,
                    message: String::new(),
                    ran: None,
                }),
                None,
            ),
        };
        Sight {
            handle: id.to_string(),
            running_since: since,
            ..Sight::bare(seen)
        }
    }

    /// Does what the node asked for.
    pub(super) fn act(&mut self, op: &Op, now: Now) -> (Recorded, Outcome) {
        let id = op.id;
        let running = Job::Running { since: now.boot };
        let recorded = match (&op.kind, self.jobs.get(&id).copied()) {
            (OpKind::Ensure(_), None)
            | (OpKind::Rerun(_), None | Some(Job::Ended { .. }))
            | (OpKind::Restart(_), _) => {
                self.jobs.insert(id, running);
                Recorded::Started(id)
            }
            (OpKind::Stop { .. }, Some(_)) => {
                self.jobs.remove(&id);
                Recorded::Removed(id)
            }
            (OpKind::Pause, Some(Job::Running { since })) => {
                self.jobs.insert(id, Job::Paused { since });
                Recorded::Nothing
            }
            (OpKind::Resume, Some(Job::Paused { since })) => {
                self.jobs.insert(id, Job::Running { since });
                Recorded::Nothing
            }
            (
                OpKind::Ensure(_)
                | OpKind::Rerun(_)
                | OpKind::Stop { .. }
                | OpKind::Pause
                | OpKind::Resume
                | OpKind::Look
                | OpKind::Tail,
                _,
            ) => Recorded::Nothing,
        };
        let outcome = match op.kind {
            OpKind::Tail => Outcome::Tail(Vec::new()),
            _ => Outcome::Seen(self.sight(id, now)),
        };
        (recorded, outcome)
    }
}
