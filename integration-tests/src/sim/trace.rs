//! What happened: a hash over everything, and the last events in words where they are wanted.

use std::collections::VecDeque;

use edgeio_domain::time::Time;
use edgeio_proto::link::v1::{self, child_message, parent_message};
use prost::Message as _;

use super::queue::What;

/// The trace of a schedule.
pub(super) struct Trace {
    pub(super) events: u64,
    hash: u64,
    keep: usize,
    tail: VecDeque<String>,
}

impl Trace {
    /// One that keeps so many events in words. Words cost more than the events, so that a schedule is run again with
    /// them once something broke.
    pub(super) fn new(keep: usize) -> Self {
        Self {
            events: 0,
            hash: 0xCBF2_9CE4_8422_2325,
            keep,
            tail: VecDeque::new(),
        }
    }

    pub(super) fn keeps(&self) -> bool {
        self.keep > 0
    }

    pub(super) fn note(&mut self, now: Time, what: &What) {
        self.events += 1;
        self.mix(now.0.unsigned_abs());
        let (kind, number) = fingerprint(what);
        self.mix(kind);
        self.mix(number);
        if self.keep > 0 {
            if self.tail.len() >= self.keep {
                self.tail.pop_front();
            }
            let text = format!("{} {what:?}", now.0);
            self.tail.push_back(text.chars().take(600).collect());
        }
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0000_0100_0000_01B3);
        self.hash ^= self.hash >> 29;
    }

    pub(super) fn tail(&self) -> String {
        let lines: Vec<&str> = self.tail.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    pub(super) fn finish(&mut self, ends: &[u64]) -> u64 {
        for end in ends {
            self.mix(*end);
        }
        self.hash
    }
}

/// What tells one event from another.
fn fingerprint(what: &What) -> (u64, u64) {
    let pair = |a: usize, b: usize| (a as u64) << 32 | b as u64;
    match what {
        What::RootHears(root, cluster, message) => (pair(1, *root), up(message) ^ *cluster as u64),
        What::ClusterHears(bridge, worker, message) => {
            (pair(2, *bridge), up(message) ^ *worker as u64)
        }
        What::ClusterHearsRoot(cluster, _, message) => (pair(3, *cluster), down(message)),
        What::WorkerHears(worker, message) => (pair(4, *worker), down(message)),
        What::Loop(_, task, at) => (pair(5, *task as usize), at.0.unsigned_abs()),
        What::Tick(worker, incarnation, _) => (pair(6, *worker), *incarnation),
        What::Done(worker, _, op) => (pair(7, *worker), op.id.0.as_u64_pair().0),
        What::Listed(worker, incarnation, _) => (pair(8, *worker), *incarnation),
        What::Register(worker, incarnation) => (pair(9, *worker), *incarnation),
        What::Dial(cluster, number) => (pair(10, *cluster), *number),
        What::HangUp(cluster, number) => (pair(11, *cluster), *number),
        What::JobEnds(worker, number) => (pair(12, *worker), *number),
        What::Fault(_) => (13, 0),
        What::Restart(_) => (14, 0),
        What::Mend(_) => (15, 0),
        What::Unclog(_) => (16, 0),
        What::Room(_) => (17, 0),
        What::Act(user) => (18, *user as u64),
        What::Order(_) => (19, 0),
        What::Revived(worker) => (20, *worker as u64),
        What::Heal => (21, 0),
        What::Verify(number) => (22, u64::from(*number)),
    }
}

fn up(message: &v1::ChildMessage) -> u64 {
    let length = message.encoded_len() as u64;
    let number = match &message.message {
        Some(child_message::Message::Report(report)) => report.session_epoch ^ report.seq << 20,
        Some(child_message::Message::Hello(_)) => 1,
        Some(child_message::Message::Telemetry(_)) | None => 2,
    };
    number ^ length << 48
}

fn down(message: &v1::ParentMessage) -> u64 {
    let length = message.encoded_len() as u64;
    let number = match &message.message {
        Some(parent_message::Message::Snapshot(s)) => s.revision << 3 | 1,
        Some(parent_message::Message::Delta(d)) => d.to_revision << 3 | 2,
        Some(parent_message::Message::Ack(a)) => a.recorded_seq << 3 | 3,
        Some(parent_message::Message::Welcome(_)) => 4,
        Some(parent_message::Message::Refusal(_)) => 5,
        Some(parent_message::Message::ReportRequest(_)) | None => 6,
    };
    message.session_epoch ^ number << 16 ^ length << 48
}
