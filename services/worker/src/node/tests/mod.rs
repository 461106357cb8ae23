//! The node in a scripted world: a parent and a runtime in a few lines each, and a clock that the test moves.

mod lease;
mod life;
mod orders;

use std::{collections::BTreeMap, time::Duration};

use edgeio_domain::{
    ids::{Lineage, SlotId},
    lifecycle::Phase,
    node::{RejectionReason, Status},
    plan::instance::Exit,
    resources::Resources,
};
use edgeio_link::{PROTOCOL, child::Identity};
use edgeio_proto::{
    api,
    link::v1::{child_message, parent_message},
};

use super::*;
use crate::{ledger::MemoryLedger, runtime::Feature};

const LINEAGE: u128 = 77;

struct World {
    node: Node,
    ledger: MemoryLedger,
    now: Now,
    /// What the runtime has.
    jobs: BTreeMap<AssignmentId, Sight>,
    /// Every piece of work, as words.
    log: Vec<String>,
    /// Work is kept here and not done while `hold` is set.
    held: Vec<Op>,
    hold: bool,
    cancelled: Vec<AssignmentId>,
    /// The runtime answers nothing.
    down: bool,
    faults: Vec<Fault>,
    reports: Vec<v1::Report>,
    /// When each was sent.
    sent: BTreeMap<u64, Time>,
    hello: Option<v1::Hello>,
    acked: u64,
    deaf: bool,
    /// What Acks say of the newest order; where nothing is said here, they grant no leases.
    newest: Option<u64>,
    /// Stops fail.
    unstoppable: bool,
    boot_id: String,
    epoch: u64,
    revision: u64,
    attaches: u128,
}

fn id(n: u128) -> AssignmentId {
    AssignmentId(Uuid::from_u128(n))
}

fn spec(restart: &str) -> v1::Spec {
    let message = api::v1::ServiceSpec {
        name: "web".into(),
        runtime: "fake".into(),
        image: "web:1".into(),
        restart: restart.into(),
        ..Default::default()
    };
    wire_spec(&message)
}

fn wire_spec(message: &api::v1::ServiceSpec) -> v1::Spec {
    let (hash, body) = edgeio_link::spec::encode(message);
    v1::Spec {
        hash: hash.0.to_vec(),
        body,
    }
}

fn order(n: u128, generation: u64, desired: v1::Desired, spec: &v1::Spec) -> v1::Assignment {
    v1::Assignment {
        id: id(n).to_string(),
        slot_id: SlotId(Uuid::from_u128(n + 1000)).to_string(),
        generation,
        desired: desired.into(),
        spec_hash: spec.hash.clone(),
        namespace: "default".into(),
        application: "shop".into(),
        service: "web".into(),
        ..Default::default()
    }
}

fn fault(class: FaultClass, reason: &str) -> Fault {
    Fault {
        class,
        reason: reason.into(),
        message: format!("{reason} happened"),
    }
}

fn exited(code: i32) -> Sight {
    Sight::bare(Seen::Exited(Exit {
        code,
        message: String::new(),
        ran: None,
    }))
}

impl World {
    fn new() -> Self {
        Self::over(MemoryLedger::default())
    }

    fn over(ledger: MemoryLedger) -> Self {
        Self {
            node: Self::open(&ledger, "b"),
            ledger,
            now: Now {
                boot: Time(5_000),
                wall: Time(1_000_000),
            },
            jobs: BTreeMap::new(),
            log: Vec::new(),
            held: Vec::new(),
            hold: false,
            cancelled: Vec::new(),
            down: false,
            faults: Vec::new(),
            reports: Vec::new(),
            sent: BTreeMap::new(),
            hello: None,
            acked: 0,
            deaf: false,
            newest: None,
            unstoppable: false,
            boot_id: "b".into(),
            epoch: 0,
            revision: 0,
            attaches: 0,
        }
    }

    fn open(ledger: &MemoryLedger, boot_id: &str) -> Node {
        let offer = Offer {
            kind: RuntimeKind::FAKE,
            features: [Feature::Images, Feature::Pause].into(),
            available: true,
        };
        let room = Resources {
            cpu_millis: 4000,
            memory_bytes: 1 << 30,
        };
        let setup = Setup {
            identity: Identity {
                id: ChildId(Uuid::from_u128(1)),
                version: "1".into(),
                boot_id: boot_id.into(),
            },
            cluster: Uuid::from_u128(2),
            capacity: capacity("amd64", std::slice::from_ref(&offer), room),
            runtimes: vec![offer],
        };
        Node::open(setup, Box::new(ledger.clone())).unwrap()
    }

    /// The agent is killed and started again: work that was under way is lost, what runs goes on.
    fn restart_agent(&mut self) {
        self.node = Self::open(&self.ledger, &self.boot_id);
        self.held.clear();
        self.log.clear();
        self.settle();
    }

    fn attach(&mut self) {
        self.attaches += 1;
        self.epoch += 1;
        self.acked = 0;
        let attach = AttachId(Uuid::from_u128(self.attaches));
        self.node.connect(attach, self.now);
        self.settle();
        let welcome = v1::Welcome {
            protocol: PROTOCOL,
            lineage: Lineage(Uuid::from_u128(LINEAGE)).to_string(),
            issuer_epoch: 1,
            attach_id: attach.to_string(),
            report_interval_ms: 15_000,
            ..Default::default()
        };
        self.tell(parent_message::Message::Welcome(welcome));
    }

    fn tell(&mut self, message: parent_message::Message) {
        self.try_tell(message).unwrap();
    }

    fn try_tell(&mut self, message: parent_message::Message) -> Result<(), LedgerError> {
        let message = v1::ParentMessage {
            session_epoch: self.epoch,
            message: Some(message),
        };
        let outcome = self.node.receive(message, self.now);
        self.settle();
        outcome
    }

    fn snapshot(
        &mut self,
        entries: Vec<v1::Assignment>,
        specs: Vec<v1::Spec>,
    ) -> Result<(), LedgerError> {
        self.revision += 1;
        let snapshot = v1::Snapshot {
            lineage: Lineage(Uuid::from_u128(LINEAGE)).to_string(),
            issuer_epoch: 1,
            revision: self.revision,
            entries,
            specs,
            chunk: 0,
            chunks: 1,
        };
        self.try_tell(parent_message::Message::Snapshot(snapshot))
    }

    /// Does what the node wants until it wants nothing more.
    fn settle(&mut self) {
        for _ in 0..100 {
            let effects = self.node.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.perform(effect);
            }
        }
        panic!("the node does not come to rest: {:?}", self.log);
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(message) => match message.message {
                Some(child_message::Message::Hello(hello)) => self.hello = Some(hello),
                Some(child_message::Message::Report(report)) => {
                    let seq = report.seq;
                    self.reports.push(report);
                    self.sent.insert(seq, self.now.boot);
                    if !self.deaf && seq > self.acked {
                        self.acked = seq;
                        let ack = v1::Ack {
                            recorded_seq: seq,
                            newest_order: self.newest,
                        };
                        let message = v1::ParentMessage {
                            session_epoch: self.epoch,
                            message: Some(parent_message::Message::Ack(ack)),
                        };
                        self.node.receive(message, self.now).unwrap();
                    }
                }
                Some(child_message::Message::Telemetry(_)) | None => panic!("not expected"),
            },
            Effect::List(runtime) => {
                let result = if self.down {
                    Err(fault(FaultClass::Retry, "Reach"))
                } else {
                    Ok(self.jobs.clone().into_iter().collect())
                };
                self.node.seen(Listing { runtime, result }, self.now);
            }
            Effect::Run(op) if self.hold => self.held.push(op),
            Effect::Run(op) => self.work(op),
            Effect::Cancel(id) => self.cancelled.push(id),
            other => self.log.push(format!("{other:?}")),
        }
    }

    fn work(&mut self, op: Op) {
        let running = Sight {
            handle: "h".into(),
            running_since: Some(self.now.wall),
            ..Sight::bare(Seen::Running)
        };
        let word = match &op.kind {
            OpKind::Ensure(_) => "ensure",
            OpKind::Rerun(_) => "rerun",
            OpKind::Restart(_) => "restart",
            OpKind::Stop { .. } => "stop",
            OpKind::Pause => "pause",
            OpKind::Resume => "resume",
            OpKind::Look => "look",
            OpKind::Tail => "tail",
        };
        self.log.push(format!("{word} {}", op.id.0.as_u128()));
        let starts = matches!(op.kind, OpKind::Ensure(_) | OpKind::Rerun(_));
        if starts && !self.faults.is_empty() {
            let fault = self.faults.remove(0);
            return self.node.finished(op.id, Outcome::Fault(fault), self.now);
        }
        match &op.kind {
            OpKind::Stop { .. } if self.unstoppable => {
                let fault = fault(FaultClass::Retry, "Reach");
                return self.node.finished(op.id, Outcome::Fault(fault), self.now);
            }
            OpKind::Ensure(_) => {
                let job = self.jobs.entry(op.id).or_insert_with(|| running.clone());
                if job.seen == Seen::Created {
                    *job = running;
                }
            }
            OpKind::Rerun(_) | OpKind::Restart(_) => {
                self.jobs.insert(op.id, running);
            }
            OpKind::Stop { .. } => {
                self.jobs.remove(&op.id);
            }
            OpKind::Pause => self.show(op.id, Seen::Paused),
            OpKind::Resume => self.show(op.id, Seen::Running),
            OpKind::Look => {}
            OpKind::Tail => {
                let tail = Outcome::Tail(b"last words".to_vec());
                return self.node.finished(op.id, tail, self.now);
            }
        }
        let sight = self.jobs.get(&op.id).cloned().unwrap_or_else(Sight::absent);
        self.node.finished(op.id, Outcome::Seen(sight), self.now);
    }

    fn show(&mut self, id: AssignmentId, seen: Seen) {
        self.jobs.get_mut(&id).unwrap().seen = seen;
    }

    /// A job ends by itself and its runtime says so.
    fn end(&mut self, n: u128, code: i32) {
        self.jobs.insert(id(n), exited(code));
        self.node.hint(&RuntimeKind::FAKE, Some(id(n)), self.now);
        self.settle();
    }

    /// Time passes, as a driver lets it: from one due moment to the next.
    fn pass(&mut self, time: Duration) {
        let end = self.now.boot + time;
        for _ in 0..10_000 {
            let due = self.node.due(self.now).filter(|due| *due <= end);
            let to = due.unwrap_or(end).max(self.now.boot);
            let step = to.since(self.now.boot);
            self.now.boot = to;
            self.now.wall = self.now.wall + step;
            self.node.tick(self.now);
            self.settle();
            if due.is_none() {
                return;
            }
            // A due moment that passes without effect must not come again.
            assert!(
                self.node.due(self.now) != Some(to),
                "the node is due at {to:?} for ever"
            );
        }
        panic!("time does not pass");
    }

    fn status(&self, n: u128) -> Status {
        let entry = self.node.entries().find(|e| e.order.id == id(n));
        entry.unwrap().status.clone()
    }

    fn phase(&self, n: u128) -> Phase {
        self.status(n).phase
    }

    /// What was told last of an instance.
    fn told(&self, n: u128) -> &v1::InstanceReport {
        let id = id(n).to_string();
        let all = self.reports.iter().rev().flat_map(|r| &r.entries);
        all.into_iter().find(|e| e.id == id).unwrap()
    }

    /// What was done with an instance, looks and tails aside.
    fn done(&self) -> Vec<&str> {
        let work = |word: &&str| !word.starts_with("look") && !word.starts_with("tail");
        self.log.iter().map(String::as_str).filter(work).collect()
    }

    fn running(restart: &str) -> (Self, v1::Spec) {
        let mut world = World::new();
        world.attach();
        let spec = spec(restart);
        let run = order(1, 1, v1::Desired::Run, &spec);
        world.snapshot(vec![run], vec![spec.clone()]).unwrap();
        assert_eq!(world.phase(1), Phase::Running, "{:?}", world.log);
        (world, spec)
    }
}
