//! The node in a scripted world: a parent and a runtime in a few lines each, and a clock that the test moves.

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
    hello: Option<v1::Hello>,
    acked: u64,
    deaf: bool,
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
            node: Self::open(&ledger),
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
            hello: None,
            acked: 0,
            deaf: false,
            epoch: 0,
            revision: 0,
            attaches: 0,
        }
    }

    fn open(ledger: &MemoryLedger) -> Node {
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
                boot_id: "b".into(),
            },
            cluster: Uuid::from_u128(2),
            capacity: capacity("amd64", std::slice::from_ref(&offer), room),
            runtimes: vec![offer],
        };
        Node::open(setup, Box::new(ledger.clone())).unwrap()
    }

    /// The agent is killed and started again: work that was under way is lost, what runs goes on.
    fn restart_agent(&mut self) {
        self.node = Self::open(&self.ledger);
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
                    if !self.deaf && seq > self.acked {
                        self.acked = seq;
                        let ack = v1::Ack { recorded_seq: seq };
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
            OpKind::Ensure(_) => {
                self.jobs.entry(op.id).or_insert(running);
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

#[test]
fn an_order_becomes_a_running_job_that_is_reported() {
    let (world, _) = World::running("always");
    assert_eq!(world.done(), ["ensure 1"]);
    let told = world.told(1);
    assert_eq!(told.phase(), v1::Phase::Running);
    assert_eq!((told.generation, told.handle.as_str()), (1, "h"));
    assert_eq!(told.running_for_ms, Some(0));
    assert_eq!(world.ledger.durable().entries.len(), 1);
    let reports: Vec<_> = world.reports.iter().map(|r| r.seq).collect();
    assert!(
        reports.windows(2).all(|two| two[1] == two[0] + 1),
        "{reports:?}"
    );
}

#[test]
fn the_job_says_who_it_is_and_what_the_user_wrote_wins() {
    let mut world = World::new();
    world.attach();
    world.hold = true;
    let mut env = BTreeMap::new();
    env.insert("EDGEIO_ORDINAL".to_owned(), "mine".to_owned());
    let spec = wire_spec(&api::v1::ServiceSpec {
        name: "web".into(),
        runtime: "fake".into(),
        image: "web:1".into(),
        env,
        resources: Some(api::v1::ResourceSpec {
            cpu: "500m".into(),
            memory: String::new(),
        }),
        ..Default::default()
    });
    world
        .snapshot(
            vec![order(0xabc, 1, v1::Desired::Run, &spec)],
            vec![spec.clone()],
        )
        .unwrap();
    let OpKind::Ensure(job) = &world.held[0].kind else {
        panic!("{:?}", world.held);
    };
    assert_eq!(job.name, "edgeio-shop-web-0-00000abc");
    assert_eq!(job.env[variable::APPLICATION], "shop");
    assert_eq!(job.env[variable::INSTANCE], id(0xabc).to_string());
    assert_eq!(job.env[variable::ORDINAL], "mine");
    assert_eq!((job.cpu_millis, job.memory_bytes), (Some(500), None));
    assert_eq!(job.labels.worker, Uuid::from_u128(1));
    assert_eq!(job.labels.cluster, Uuid::from_u128(2));
    assert_eq!(
        SpecHash::from_slice(&spec.hash).unwrap().hex(),
        job.labels.spec_hash
    );
}

#[test]
fn what_ends_is_started_again_by_policy_with_growing_pauses() {
    let (mut world, _) = World::running("on-failure");
    world.end(1, 3);
    let status = world.status(1);
    assert_eq!(
        (status.phase, status.exit_code),
        (Phase::Preparing, Some(3))
    );
    assert_eq!(world.told(1).output_tail, b"last words");
    world.pass(Duration::from_millis(999));
    assert_eq!(world.done(), ["ensure 1"]);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.done(), ["ensure 1", "rerun 1"]);
    assert_eq!(
        (world.phase(1), world.status(1).restarts),
        (Phase::Running, 1)
    );
    world.end(1, 3);
    world.pass(Duration::from_millis(1999));
    assert_eq!(world.status(1).restarts, 1);
    world.pass(Duration::from_millis(1));
    assert_eq!(
        (world.phase(1), world.status(1).restarts),
        (Phase::Running, 2)
    );
    world.end(1, 0);
    assert_eq!(world.phase(1), Phase::Completed);
    world.pass(Duration::from_secs(1000));
    assert_eq!(world.done(), ["ensure 1", "rerun 1", "rerun 1"]);
    assert_eq!(world.told(1).phase(), v1::Phase::Completed);
}

#[test]
fn a_failure_for_good_tells_the_last_output_and_survives_a_restart() {
    let (mut world, _) = World::running("never");
    world.end(1, 9);
    let told = world.told(1);
    assert_eq!((told.phase(), told.exit_code), (v1::Phase::Failed, Some(9)));
    assert_eq!(told.output_tail, b"last words");
    world.restart_agent();
    assert_eq!(world.phase(1), Phase::Failed);
    world.attach();
    assert_eq!(world.told(1).output_tail, b"last words");
    assert_eq!(world.done(), Vec::<&str>::new());
}

#[test]
fn a_stop_is_carried_out_told_and_forgotten_but_the_id_is_not() {
    let (mut world, spec) = World::running("always");
    world.deaf = true;
    let stop = order(1, 2, v1::Desired::Stop, &spec);
    world.snapshot(vec![stop], vec![]).unwrap();
    assert_eq!(world.done(), ["ensure 1", "stop 1"]);
    assert_eq!(world.phase(1), Phase::Stopped);
    assert!(world.jobs.is_empty());
    world.deaf = false;
    world.pass(Duration::from_secs(20));
    assert_eq!(world.node.entries().count(), 0);
    let durable = world.ledger.durable();
    assert!(durable.entries.is_empty() && durable.specs.is_empty());
    assert!(durable.tombstones.contains_key(&id(1)));
    // A parent that was restored from a backup orders it once more.
    let run = order(1, 3, v1::Desired::Run, &spec);
    world.snapshot(vec![run], vec![spec]).unwrap();
    assert_eq!(world.done(), ["ensure 1", "stop 1"]);
    let rejection = world.told(1).rejection.clone().unwrap();
    assert_eq!(rejection.reason(), v1::RejectionReason::Tombstoned);
}

#[test]
fn a_stop_of_what_was_never_held_leaves_a_tombstone() {
    let mut world = World::new();
    world.attach();
    let stop = order(1, 2, v1::Desired::Stop, &spec("always"));
    world.snapshot(vec![stop], vec![]).unwrap();
    assert_eq!(world.told(1).phase(), v1::Phase::Stopped);
    assert!(world.ledger.durable().tombstones.contains_key(&id(1)));
    assert_eq!(world.done(), Vec::<&str>::new());
}

#[test]
fn a_stop_while_an_image_is_pulled_cancels_the_pull() {
    let mut world = World::new();
    world.attach();
    world.hold = true;
    let spec = spec("always");
    let run = order(1, 1, v1::Desired::Run, &spec);
    world.snapshot(vec![run], vec![spec.clone()]).unwrap();
    world
        .node
        .progress(id(1), "Pulling", "12 of 34 MB", world.now);
    world.settle();
    assert_eq!(world.told(1).message, "12 of 34 MB");
    assert_eq!(world.told(1).phase(), v1::Phase::Preparing);
    world
        .snapshot(vec![order(1, 2, v1::Desired::Stop, &spec)], vec![])
        .unwrap();
    assert_eq!(world.cancelled, [id(1)]);
    assert_eq!(world.held.len(), 1, "nothing else is begun meanwhile");
    world.hold = false;
    let gone = Outcome::Fault(fault(FaultClass::Cancelled, "Cancelled"));
    world.node.finished(id(1), gone, world.now);
    world.settle();
    assert_eq!(world.told(1).phase(), v1::Phase::Stopped);
    assert_eq!(world.node.entries().count(), 0);
}

#[test]
fn a_restarted_agent_adopts_and_starts_nothing() {
    let (mut world, spec) = World::running("always");
    let before = world.jobs.clone();
    world.restart_agent();
    world.pass(Duration::from_secs(100));
    assert_eq!(world.done(), Vec::<&str>::new());
    assert_eq!(world.jobs, before);
    world.attach();
    let hello = world.hello.clone().unwrap();
    assert_eq!(hello.accepted.unwrap().revision, 1);
    assert_eq!(world.told(1).phase(), v1::Phase::Running);
    world
        .snapshot(vec![order(1, 1, v1::Desired::Run, &spec)], vec![spec])
        .unwrap();
    assert_eq!(world.done(), Vec::<&str>::new());
}

#[test]
fn a_job_that_ended_while_the_agent_was_away_is_started_again() {
    let (mut world, _) = World::running("always");
    world.jobs.insert(id(1), exited(1));
    world.restart_agent();
    world.pass(Duration::from_secs(2));
    assert_eq!(world.done(), ["rerun 1"]);
    assert_eq!(world.status(1).restarts, 1);
}

#[test]
fn a_job_that_must_not_run_twice_does_not_when_it_vanished() {
    let (mut world, _) = World::running("never");
    world.jobs.clear();
    world.restart_agent();
    world.pass(Duration::from_secs(100));
    assert_eq!(world.done(), Vec::<&str>::new());
    assert_eq!(
        (world.phase(1), world.status(1).reason.as_str()),
        (Phase::Failed, "Vanished")
    );
}

#[test]
fn nothing_is_started_while_the_runtime_does_not_answer() {
    let (mut world, _) = World::running("always");
    world.down = true;
    world.jobs.clear();
    world.restart_agent();
    world.pass(Duration::from_secs(300));
    assert_eq!(world.done(), Vec::<&str>::new());
    assert_eq!(world.phase(1), Phase::Running, "as far as anybody knows");
    assert_eq!(world.status(1).reason, "RuntimeUnreachable");
    world.down = false;
    world.pass(Duration::from_secs(40));
    assert_eq!(world.phase(1), Phase::Running);
    assert_eq!(world.done(), ["ensure 1"]);
}

#[test]
fn a_listing_that_began_before_a_start_ended_does_not_count() {
    let (mut world, _) = World::running("always");
    world.end(1, 1);
    world.node.hint(&RuntimeKind::FAKE, None, world.now);
    let asked = world.node.effects();
    assert_eq!(asked, [Effect::List(RuntimeKind::FAKE)]);
    let old: Vec<_> = world.jobs.clone().into_iter().collect();
    world.pass(Duration::from_secs(2));
    assert_eq!(world.status(1).restarts, 1);
    let listing = Listing {
        runtime: RuntimeKind::FAKE,
        result: Ok(old),
    };
    world.node.seen(listing, world.now);
    world.settle();
    assert_eq!(world.phase(1), Phase::Running);
}

#[test]
fn an_orphan_runs_on_and_can_be_claimed() {
    let (mut world, spec) = World::running("always");
    world.snapshot(vec![], vec![]).unwrap();
    assert!(world.status(1).orphan && world.ledger.durable().entries[&id(1)].status.orphan);
    assert!(world.told(1).orphan);
    world.end(1, 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.phase(1), Phase::Running, "its last order counts");
    world
        .snapshot(vec![order(1, 1, v1::Desired::Run, &spec)], vec![])
        .unwrap();
    assert!(!world.status(1).orphan);
    assert_eq!(world.done(), ["ensure 1", "rerun 1"]);
}

#[test]
fn what_the_ledger_cannot_take_does_not_happen() {
    let mut world = World::new();
    world.attach();
    let spec = spec("always");
    let run = order(1, 1, v1::Desired::Run, &spec);
    world.ledger.fail(1);
    world
        .snapshot(vec![run.clone()], vec![spec.clone()])
        .unwrap_err();
    assert_eq!(
        (world.node.entries().count(), world.node.accepted()),
        (0, None)
    );
    assert_eq!(world.log, Vec::<String>::new());
    world.pass(Duration::from_secs(60));
    assert_eq!(world.log, Vec::<String>::new());
    // It comes again.
    world.snapshot(vec![run], vec![spec]).unwrap();
    assert_eq!(world.done(), ["ensure 1"]);
}

#[test]
fn a_start_that_cannot_be_noted_waits() {
    let (mut world, _) = World::running("always");
    world.end(1, 1);
    world.ledger.fail(u64::MAX);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.done(), ["ensure 1"]);
    world.ledger.fail(0);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.done(), ["ensure 1", "rerun 1"]);
}

#[test]
fn a_failed_pull_is_tried_again_and_says_why() {
    let mut world = World::new();
    world.attach();
    world.faults = vec![fault(FaultClass::Retry, "ImagePull"); 2];
    let spec = spec("always");
    world
        .snapshot(vec![order(1, 1, v1::Desired::Run, &spec)], vec![spec])
        .unwrap();
    let told = world.told(1);
    assert_eq!(
        (told.phase(), told.reason.as_str()),
        (v1::Phase::Preparing, "ImagePull")
    );
    world.pass(Duration::from_secs(4));
    assert_eq!(world.done(), ["ensure 1", "ensure 1", "ensure 1"]);
    let status = world.status(1);
    assert_eq!((status.phase, status.restarts), (Phase::Running, 0));
    assert_eq!((status.reason.as_str(), status.message.as_str()), ("", ""));
}

#[test]
fn a_start_that_can_never_succeed_fails_a_job_that_is_never_started_again() {
    for (restart, phase) in [("never", Phase::Failed), ("on-failure", Phase::Preparing)] {
        let mut world = World::new();
        world.attach();
        world.faults = vec![fault(FaultClass::Permanent, "ImageAbsent")];
        let spec = spec(restart);
        world
            .snapshot(vec![order(1, 1, v1::Desired::Run, &spec)], vec![spec])
            .unwrap();
        assert_eq!(world.phase(1), phase, "{restart}");
        assert_eq!(world.told(1).reason, "ImageAbsent");
    }
}

#[test]
fn what_this_worker_cannot_run_is_refused_and_its_stop_is_answered() {
    let words = |runtime: &str, port: bool| api::v1::ServiceSpec {
        name: "web".into(),
        runtime: runtime.into(),
        image: "web:1".into(),
        ports: port
            .then(|| api::v1::PortSpec {
                container: 80,
                ..Default::default()
            })
            .into_iter()
            .collect(),
        ..Default::default()
    };
    let garbage = v1::Spec {
        hash: SpecHash::of(&[0xff]).0.to_vec(),
        body: vec![0xff],
    };
    let table = [
        (
            wire_spec(&words("unikernel", false)),
            RejectionReason::Unsupported,
        ),
        (
            wire_spec(&words("fake", true)),
            RejectionReason::Unsupported,
        ),
        (garbage, RejectionReason::InvalidSpec),
    ];
    for (spec, reason) in table {
        let mut world = World::new();
        world.attach();
        world
            .snapshot(
                vec![order(1, 1, v1::Desired::Run, &spec)],
                vec![spec.clone()],
            )
            .unwrap();
        assert_eq!(world.status(1).rejection.unwrap().reason, reason);
        assert!(world.told(1).rejection.is_some());
        world
            .snapshot(vec![order(1, 2, v1::Desired::Stop, &spec)], vec![])
            .unwrap();
        assert_eq!(world.told(1).phase(), v1::Phase::Stopped);
        assert_eq!(world.node.entries().count(), 0);
        assert_eq!(world.done(), Vec::<&str>::new());
    }
}

#[test]
fn an_order_without_its_spec_waits_for_it() {
    let mut world = World::new();
    world.attach();
    let spec = spec("always");
    let run = order(1, 1, v1::Desired::Run, &spec);
    world.snapshot(vec![run.clone()], vec![]).unwrap();
    assert_eq!(world.told(1).reason, "SpecMissing");
    let none = digest_of(&[]);
    assert_eq!(world.reports.last().unwrap().assignments_digest, none);
    world.snapshot(vec![run], vec![spec]).unwrap();
    assert_eq!(world.phase(1), Phase::Running);
    let one = digest_of(&[(id(1), 1)]);
    assert_eq!(world.reports.last().unwrap().assignments_digest, one);
}

fn digest_of(entries: &[(AssignmentId, u64)]) -> Vec<u8> {
    let run = edgeio_domain::records::Desired::Run;
    edgeio_domain::digest::assignments(entries.iter().map(|(id, g)| (*id, *g, run, 0))).to_vec()
}

#[test]
fn a_snapshot_in_parts_counts_when_it_is_whole() {
    let mut world = World::new();
    world.attach();
    let spec = spec("always");
    let part = |chunk, entries, specs| {
        parent_message::Message::Snapshot(v1::Snapshot {
            lineage: Lineage(Uuid::from_u128(LINEAGE)).to_string(),
            issuer_epoch: 1,
            revision: 5,
            entries,
            specs,
            chunk,
            chunks: 2,
        })
    };
    world.tell(part(1, vec![order(1, 1, v1::Desired::Run, &spec)], vec![]));
    assert_eq!(
        (world.node.entries().count(), world.ledger.writes()),
        (0, 0)
    );
    world.tell(part(0, vec![], vec![spec]));
    assert_eq!(world.phase(1), Phase::Running);
    assert_eq!(world.node.accepted().unwrap().revision, 5);
}

#[test]
fn pause_resume_and_restart_are_differences_of_orders() {
    let (mut world, spec) = World::running("always");
    world
        .snapshot(vec![order(1, 2, v1::Desired::Pause, &spec)], vec![])
        .unwrap();
    assert_eq!(world.told(1).phase(), v1::Phase::Paused);
    world
        .snapshot(vec![order(1, 3, v1::Desired::Run, &spec)], vec![])
        .unwrap();
    assert_eq!(world.told(1).phase(), v1::Phase::Running);
    let mut again = order(1, 4, v1::Desired::Run, &spec);
    again.restart_count = 1;
    world.snapshot(vec![again], vec![]).unwrap();
    assert_eq!(world.phase(1), Phase::Running);
    assert_eq!(
        world.done(),
        ["ensure 1", "pause 1", "resume 1", "restart 1"]
    );
    world.restart_agent();
    world.pass(Duration::from_secs(60));
    assert_eq!(
        world.done(),
        Vec::<&str>::new(),
        "a restart is carried out once"
    );
    assert_eq!(
        world.status(1).restarts,
        0,
        "a user's restart is none by policy"
    );
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let (mut world, _) = World::running("always");
    let writes = world.ledger.writes();
    let reports = world.reports.len();
    world.pass(Duration::from_secs(600));
    assert_eq!(world.ledger.writes(), writes);
    let beats = world.reports.len() - reports;
    assert!(
        (39..=41).contains(&beats),
        "{beats} heartbeats in ten minutes"
    );
}

#[test]
fn leftovers_of_stopped_instances_are_removed_and_strangers_left_alone() {
    let mut world = World::new();
    world.attach();
    let stop = order(1, 2, v1::Desired::Stop, &spec("always"));
    world.snapshot(vec![stop], vec![]).unwrap();
    world.jobs.insert(id(1), Sight::bare(Seen::Running));
    world.jobs.insert(id(2), Sight::bare(Seen::Running));
    world.pass(Duration::from_secs(31));
    assert_eq!(world.done(), ["stop 1"]);
    assert_eq!(world.jobs.keys().copied().collect::<Vec<_>>(), [id(2)]);
    // A stranger that is ordered was ours all along.
    let spec = spec("always");
    world
        .snapshot(vec![order(2, 1, v1::Desired::Run, &spec)], vec![spec])
        .unwrap();
    assert_eq!(
        (world.done(), world.phase(2)),
        (vec!["stop 1"], Phase::Running)
    );
}

#[test]
fn a_silent_parent_is_attached_anew_and_an_unknown_worker_registers_once() {
    let (mut world, _) = World::running("always");
    world.deaf = true;
    world.pass(Duration::from_secs(120));
    assert_eq!(world.log.iter().filter(|l| *l == "Reattach").count(), 1);
    world.log.clear();
    world.deaf = false;
    world.attach();
    for _ in 0..3 {
        let refusal = v1::Refusal {
            reason: v1::RefusalReason::UnknownChild.into(),
            message: "who".into(),
        };
        world.tell(parent_message::Message::Refusal(refusal));
    }
    assert_eq!(world.log, [r#"Register("who")"#]);
    assert_eq!(world.phase(1), Phase::Running);
}
