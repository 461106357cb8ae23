//! A worker's machine: the agent, which crashes, and the ledger and the jobs, which stay.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    ids::{AssignmentId, ChildId},
    plan::instance::{Exit, Seen},
    resources::Resources,
    time::Time,
};
use edgeio_link::child::Identity;
use edgeio_worker::{
    ledger::{LedgerError, MemoryLedger},
    node::{Node, Now, Offer, Op, OpKind, Outcome, Setup, Sight, capacity},
    runtime::{Feature, RuntimeKind},
};
use uuid::Uuid;

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
    pub(super) ledger: MemoryLedger,
    pub(super) jobs: BTreeMap<AssignmentId, Job>,
    /// `None` while the agent is down.
    pub(super) node: Option<Node>,
    /// Counts the agent's starts: answers to an earlier one are lost.
    pub(super) incarnation: u64,
    /// Work that is under way; a crash may or may not have let it happen.
    pub(super) under_way: BTreeMap<AssignmentId, Op>,
    pub(super) tick: Option<Time>,
    cluster: Uuid,
}

pub(super) fn runtime() -> RuntimeKind {
    RuntimeKind::new("fake")
}

impl Machine {
    pub(super) fn new(id: ChildId, name: String, cluster: Uuid) -> Self {
        Self {
            id,
            name,
            ledger: MemoryLedger::default(),
            jobs: BTreeMap::new(),
            node: None,
            incarnation: 0,
            under_way: BTreeMap::new(),
            tick: None,
            cluster,
        }
    }

    pub(super) fn setup(&self) -> Setup {
        let features = [Feature::Images, Feature::Pause, Feature::Limits]
            .into_iter()
            .collect();
        let offers = vec![
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
        ];
        let room = Resources {
            cpu_millis: 4000,
            memory_bytes: 4 << 30,
        };
        Setup {
            identity: Identity {
                id: self.id,
                version: String::new(),
                boot_id: String::new(),
            },
            cluster: self.cluster,
            capacity: capacity("amd64", &offers, room),
            runtimes: offers,
        }
    }

    /// Starts the agent from its ledger.
    pub(super) fn start(&mut self) -> Result<(), LedgerError> {
        self.incarnation += 1;
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
