//! The link's messages, as sequences: a parent that hears a hostile child, a worker that hears a hostile cluster, and the bus
//! between them.

use std::time::Duration;

use edgeio_bridge::{
    bus::{MAX_PAYLOAD, decode_down, decode_up},
    subject::{Channel, Subject, Way},
};
use edgeio_domain::{
    child::Accepted,
    ids::{AssignmentId, AttachId, ChildId, Lineage, SpecHash},
    lifecycle::Phase,
    plan::instance::Seen,
    records::Desired,
    resources::Resources,
    time::Time,
};
use edgeio_link::{
    child::Identity,
    convert,
    parent::{Facts, Parent, Receipt, Send},
    verdict::{self, Recorded},
    version,
};
use edgeio_proto::link::v1::{self, child_message};
use edgeio_worker::{
    ledger::MemoryLedger,
    node::{Effect, Listing, Node, Now, Offer, OpKind, Outcome, Setup, Sight, capacity},
    runtime::{Feature, RuntimeKind},
};
use prost::Message as _;
use uuid::Uuid;

use super::{Dice, frames, messages};

/// The three ids of [`Dice::id`].
const ONE: Uuid = Uuid::from_u128(1);
const TWO: Uuid = Uuid::from_u128(2);

/// See [`super::ALL`].
pub(super) fn run_up(bytes: &[u8]) {
    let mut parent = Parent::new(1, true);
    let mut now = Time(1_000_000);
    let facts = Facts {
        point: Accepted {
            lineage: Lineage(ONE),
            issuer_epoch: 1,
            revision: 3,
        },
        newest_order: 2,
        assignments: [0; 16],
        states: [0; 16],
        applications: [0; 16],
    };
    for (pause, body) in frames::read(bytes) {
        now = now + pause;
        let Ok(message) = v1::ChildMessage::decode(body) else {
            continue;
        };
        match message.message {
            Some(child_message::Message::Hello(hello)) => {
                if let Ok(agreed) = version::Offer::OWN.pick(&hello) {
                    assert!(version::SPOKEN.contains(&agreed.protocol));
                }
                if let Some(accepted) = hello.accepted.as_ref() {
                    accepted_by(accepted, &facts.point);
                }
                hello.capacity.as_ref().map(capacity_of);
            }
            Some(child_message::Message::Report(report)) => {
                report.capacity.as_ref().map(capacity_of);
                report.entries.iter().for_each(|entry| entry_of(entry, now));
                let receipt = parent.receive(&report);
                if matches!(receipt, Receipt::Record { .. }) {
                    answer(&mut parent, &report, &facts, now);
                }
                parent.nudge(report.seq, now);
                fits(&parent.ack(Some(facts.newest_order)));
            }
            Some(child_message::Message::Telemetry(_)) | None => {}
        }
    }
}

fn answer(parent: &mut Parent, report: &v1::Report, facts: &Facts, now: Time) {
    let send = parent.answer(report, facts, now);
    match send {
        Some(send @ (Send::Snapshot | Send::Delta { .. })) => {
            let messages = parent.entries(send, facts.point, Vec::new(), Vec::new(), now);
            messages.iter().for_each(fits);
        }
        Some(Send::AskFull) => fits(&parent.request(true)),
        Some(Send::AskApplications) => fits(&parent.request(false)),
        None => {}
    }
}

fn fits<M: prost::Message>(message: &M) {
    let size = message.encoded_len();
    assert!(size <= MAX_PAYLOAD, "{size} bytes do not fit the bus");
}

fn accepted_by(accepted: &v1::Accepted, point: &Accepted) {
    if let Ok(said) = convert::accepted_from_wire(accepted) {
        assert_eq!(
            convert::accepted_from_wire(&convert::accepted_to_wire(&said)),
            Ok(said)
        );
        if let Some(epoch) = verdict::adopt(point, &said) {
            assert!(
                epoch > said.issuer_epoch && epoch >= point.issuer_epoch,
                "{epoch} does not stand above {said:?}"
            );
        }
    }
}

fn capacity_of(wire: &v1::Capacity) {
    let read = convert::capacity_from_wire(wire);
    assert!(
        read.free.cpu_millis >= 0 && read.free.memory_bytes >= 0,
        "a child offers less than nothing: {read:?}"
    );
    let again = convert::capacity_from_wire(&convert::capacity_to_wire(&read));
    assert_eq!(again, read);
}

fn entry_of(report: &v1::InstanceReport, now: Time) {
    let Ok(observed) = convert::observed_from_wire(report, now) else {
        return;
    };
    for desired in [Desired::Run, Desired::Pause, Desired::Stop] {
        let order = Recorded {
            desired,
            generation: 2,
            restart_count: 0,
        };
        if let verdict::Verdict::Renew { generation, resend } =
            verdict::judge(order, report, &observed)
        {
            // A new number is above what the child holds, or it would never take the order.
            assert!(
                generation > observed.generation || !resend,
                "{generation} against {}",
                observed.generation
            );
        }
    }
}

/// See [`super::ALL`].
pub(super) fn seed_up(dice: &mut Dice) -> Vec<u8> {
    sequence(dice, "edgeio.link.v1.ChildMessage")
}

/// See [`super::ALL`].
pub(super) fn run_down(bytes: &[u8]) {
    let mut now = Now {
        boot: Time(5_000),
        wall: Time(1_000_000),
    };
    let opened = Node::open(setup(), Box::new(MemoryLedger::default()));
    let Ok(mut node) = opened else {
        unreachable!("a ledger in memory opens")
    };
    node.connect(AttachId(ONE), now);
    serve(&mut node, now);
    for (pause, body) in frames::read(bytes) {
        now = later(now, pause);
        let Ok(message) = decode_down(body) else {
            continue;
        };
        let taken = node.receive(message, now);
        assert!(taken.is_ok(), "{taken:?}");
        serve(&mut node, now);
        now = later(
            now,
            node.due(now)
                .map_or(Duration::ZERO, |due| due.since(now.boot)),
        );
        node.tick(now);
        serve(&mut node, now);
    }
    for entry in node.entries() {
        // Every piece of work answers in this world, so nothing waits half-way but for time.
        assert_ne!(
            (entry.order.desired, entry.status.phase),
            (Desired::Stop, Phase::Running),
            "{entry:?}"
        );
    }
}

fn later(now: Now, pause: Duration) -> Now {
    // A day at most: longer waits are a report interval of weeks, which only its cluster can want.
    let pause = pause.min(Duration::from_secs(86_400));
    Now {
        boot: now.boot + pause,
        wall: now.wall + pause,
    }
}

fn setup() -> Setup {
    let offer = Offer {
        kind: RuntimeKind::FAKE,
        features: [Feature::Images, Feature::Pause].into(),
        available: true,
    };
    let room = Resources {
        cpu_millis: 4000,
        memory_bytes: 1 << 30,
    };
    Setup {
        identity: Identity {
            id: ChildId(ONE),
            version: "1".to_owned(),
            boot_id: "b".to_owned(),
        },
        cluster: TWO,
        capacity: capacity("amd64", std::slice::from_ref(&offer), room),
        runtimes: vec![offer],
    }
}

/// A runtime in which everything succeeds at once.
fn serve(node: &mut Node, now: Now) {
    // Each round answers what the one before asked for; a node that never has enough would hang here.
    for _ in 0..64 {
        let effects = node.effects();
        if effects.is_empty() {
            return;
        }
        for effect in effects {
            match effect {
                Effect::Send(message) => fits(&message),
                Effect::List(runtime) => node.seen(
                    Listing {
                        runtime,
                        result: Ok(Vec::new()),
                    },
                    now,
                ),
                Effect::Run(op) => {
                    let outcome = match op.kind {
                        OpKind::Tail => Outcome::Tail(Vec::new()),
                        OpKind::Stop { .. } | OpKind::Look => Outcome::Seen(Sight::absent()),
                        OpKind::Pause => Outcome::Seen(Sight::bare(Seen::Paused)),
                        _ => Outcome::Seen(Sight::bare(Seen::Running)),
                    };
                    node.finished(op.id, outcome, now);
                }
                Effect::Cancel(_) => {}
                Effect::Register(_) | Effect::Reattach | Effect::Incompatible(_) => {
                    node.connect(AttachId(ONE), now);
                }
            }
        }
    }
}

/// See [`super::ALL`].
pub(super) fn seed_down(dice: &mut Dice) -> Vec<u8> {
    let welcome = v1::ParentMessage {
        session_epoch: 1,
        message: Some(v1::parent_message::Message::Welcome(v1::Welcome {
            protocol: *version::SPOKEN.end(),
            lineage: ONE.to_string(),
            issuer_epoch: 1,
            attach_id: ONE.to_string(),
            report_interval_ms: dice.number() as u32,
            ..Default::default()
        })),
    };
    let mut out = Vec::new();
    frames::write(dice, &welcome.encode_to_vec(), &mut out);
    if dice.one_in(2) {
        let orders = snapshot(dice);
        frames::write(dice, &orders.encode_to_vec(), &mut out);
    }
    out.extend(sequence(dice, "edgeio.link.v1.ParentMessage"));
    out
}

/// A snapshot that a worker takes, with orders that may be wrong.
fn snapshot(dice: &mut Dice) -> v1::ParentMessage {
    let spec = messages::encoded(dice, "edgeio.link.v1.Spec");
    let mut spec = v1::Spec::decode(spec.as_slice()).unwrap_or_default();
    spec.hash = SpecHash::of(&spec.body).0.to_vec();
    let entries = (0..dice.below(4))
        .map(|_| {
            let made = messages::encoded(dice, "edgeio.link.v1.Assignment");
            v1::Assignment {
                id: AssignmentId(dice.id()).to_string(),
                spec_hash: spec.hash.clone(),
                ..v1::Assignment::decode(made.as_slice()).unwrap_or_default()
            }
        })
        .collect();
    v1::ParentMessage {
        session_epoch: 1,
        message: Some(v1::parent_message::Message::Snapshot(v1::Snapshot {
            lineage: ONE.to_string(),
            issuer_epoch: 1,
            revision: 1 + dice.number() / 2,
            entries,
            specs: vec![spec],
            ..Default::default()
        })),
    }
}

fn sequence(dice: &mut Dice, full_name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..1 + dice.below(6) {
        let body = messages::encoded(dice, full_name);
        frames::write(dice, &body, &mut out);
    }
    out
}

/// See [`super::ALL`].
pub(super) fn run_bus(bytes: &[u8]) {
    let (subject, payload) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => bytes.split_at(at),
        None => (bytes, bytes),
    };
    let payload = bytes::Bytes::copy_from_slice(payload.strip_prefix(b"\n").unwrap_or(payload));
    let subject = String::from_utf8_lossy(subject);
    match decode_up(ONE, &subject, &payload) {
        Ok(heard) => {
            let known = [
                Subject::report(ONE, heard.worker).to_string(),
                Subject::telemetry(ONE, heard.worker).to_string(),
            ];
            assert!(known.contains(&subject.clone().into_owned()), "{subject}");
            assert_eq!(heard.payload, payload);
            let message = v1::ChildMessage::decode(payload.as_ref());
            assert!(message.is_ok());
            if let Ok(v1::ChildMessage {
                message: Some(child_message::Message::Hello(hello)),
            }) = message
            {
                assert_eq!(hello.child_id, heard.worker.to_string());
            }
        }
        Err(refused) => {
            let text = refused.to_string();
            assert!(text.len() < 1024 + subject.len(), "{text}");
        }
    }
    if let Ok(message) = decode_down(&payload) {
        assert!(message.message.is_some());
    }
}

/// See [`super::ALL`].
pub(super) fn seed_bus(dice: &mut Dice) -> Vec<u8> {
    let worker = dice.id();
    let cluster = if dice.one_in(6) { TWO } else { ONE };
    let subject = match dice.below(6) {
        0 => Subject::telemetry(cluster, worker),
        1 => Subject::control(cluster, worker),
        2 => Subject {
            cluster,
            worker,
            channel: Channel::Stream {
                session: TWO,
                way: Way::Up,
            },
        },
        _ => Subject::report(cluster, worker),
    };
    let kind = if dice.one_in(5) {
        "edgeio.link.v1.ParentMessage"
    } else {
        "edgeio.link.v1.ChildMessage"
    };
    let mut out = subject.to_string().into_bytes();
    out.push(b'\n');
    out.extend(messages::encoded(dice, kind));
    out
}
