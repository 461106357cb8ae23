//! What the child tells of applications that it owns.

use edgeio_domain::{
    child::Accepted,
    digest::{self, Digest16},
    ids::{AppUid, AssignmentId, AttachId, ChildId, Lineage, SpecHash},
    time::Time,
};
use edgeio_proto::link::v1::{self, child_message, parent_message::Message};
use uuid::Uuid;

use super::{Child, Identity, Owned, View};
use crate::{
    chunk::CHUNK_BYTES,
    holdings::{Held, Holdings},
    version::feature,
};

struct Nothing;

impl Holdings for Nothing {
    fn held(&self, _: AssignmentId) -> Option<Held> {
        None
    }
    fn is_tombstoned(&self, _: AssignmentId) -> bool {
        false
    }
    fn ids(&self) -> Vec<AssignmentId> {
        Vec::new()
    }
}

struct Side {
    child: Child,
    applications: Vec<(AppUid, u64)>,
    specs: Vec<v1::Spec>,
    /// Length of each application's name, so that they need room.
    name: usize,
    now: Time,
}

fn uid(n: u128) -> AppUid {
    AppUid(Uuid::from_u128(n))
}

const DIGEST: Digest16 = [3; 16];

impl Side {
    fn open(features: &[&str]) -> Self {
        let identity = Identity {
            id: ChildId(Uuid::from_u128(1)),
            version: String::new(),
            boot_id: String::new(),
        };
        let mut side = Side {
            child: Child::new(identity, Some(Accepted::default())),
            applications: vec![(uid(1), 1), (uid(2), 2)],
            specs: Vec::new(),
            name: 3,
            now: Time(1_000_000),
        };
        side.welcome(features);
        side
    }

    fn welcome(&mut self, features: &[&str]) {
        let attempt = AttachId(Uuid::from_u128(9));
        self.child.connect(attempt, self.now);
        self.hear(Message::Welcome(v1::Welcome {
            protocol: crate::PROTOCOL,
            features: features.iter().map(|&name| name.to_owned()).collect(),
            attach_id: attempt.to_string(),
            lineage: Lineage::default().to_string(),
            report_interval_ms: 15_000,
            ..Default::default()
        }));
    }

    fn hear(&mut self, body: Message) {
        let message = v1::ParentMessage {
            session_epoch: 1,
            message: Some(body),
        };
        self.child.receive(message, &Nothing, self.now);
    }

    fn ack(&mut self, recorded_seq: u64) {
        self.hear(Message::Ack(v1::Ack {
            recorded_seq,
            newest_order: None,
        }));
    }

    fn reports(&mut self) -> Vec<v1::Report> {
        let capacity = v1::Capacity::default();
        let (applications, name) = (self.applications.clone(), self.name);
        let render = move |uid: AppUid| {
            Some(v1::OwnedApplication {
                uid: uid.to_string(),
                name: "n".repeat(name),
                ..Default::default()
            })
        };
        let view = View {
            states: &[],
            assignments: digest::assignments([]),
            digest: digest::states([]),
            render: &|_| None,
            capacity: (1, &capacity),
            owned: Some(Owned {
                applications: &applications,
                digest: DIGEST,
                render: &render,
            }),
            specs: &self.specs,
        };
        let messages = self.child.poll(&view, self.now);
        let report = |message: v1::ChildMessage| match message.message {
            Some(child_message::Message::Report(report)) => Some(report),
            _ => None,
        };
        messages.into_iter().filter_map(report).collect()
    }
}

fn told(report: &v1::Report) -> Vec<(AppUid, bool)> {
    let one = |app: &v1::OwnedApplication| (app.uid.parse().unwrap(), app.gone);
    report.applications.iter().map(one).collect()
}

#[test]
fn a_parent_that_does_not_know_the_feature_hears_of_none() {
    let mut side = Side::open(&[]);
    let report = side.reports().remove(0);
    assert!(report.full && !report.applications_full);
    assert!(report.applications.is_empty() && report.applications_digest.is_empty());
    side.child.lost(
        vec![v1::InstanceReport::default()],
        vec![v1::OwnedApplication::default()],
    );
    side.applications[0].1 = 5;
    assert_eq!(side.reports(), [], "nothing of it is news");
}

#[test]
fn all_are_told_at_the_beginning_then_what_changes_and_once_what_is_gone() {
    let mut side = Side::open(&[feature::OWNED_APPLICATIONS]);
    let first = side.reports().remove(0);
    assert!(first.full && first.applications_full);
    assert_eq!(told(&first), [(uid(1), false), (uid(2), false)]);
    assert_eq!(first.applications_digest, DIGEST);
    side.ack(1);
    assert_eq!(side.reports(), []);

    side.applications[1].1 = 3;
    let change = side.reports().remove(0);
    assert_eq!(told(&change), [(uid(2), false)]);
    assert!(!change.applications_full && !change.full);
    // It is lost: what the parent did not record is told again.
    side.now = Time(side.now.0 + 5_000);
    assert_eq!(told(&side.reports().remove(0)), [(uid(2), false)]);
    side.ack(3);

    side.applications.remove(0);
    side.child.lost(
        Vec::new(),
        vec![v1::OwnedApplication {
            uid: uid(1).to_string(),
            gone: true,
            ..Default::default()
        }],
    );
    assert_eq!(told(&side.reports().remove(0)), [(uid(1), true)]);
    assert_eq!(side.reports(), []);

    side.hear(Message::ReportRequest(v1::ReportRequest {
        applications: true,
        ..Default::default()
    }));
    let asked = side.reports().remove(0);
    assert!(asked.applications_full && !asked.full);
    assert_eq!(told(&asked), [(uid(2), false)]);
}

#[test]
fn many_come_in_parts_of_whole_entries_and_the_digest_with_the_last() {
    let mut side = Side::open(&[feature::OWNED_APPLICATIONS]);
    side.applications = (0..30).map(|n| (uid(n), 1)).collect();
    side.name = 10_000;
    let reports = side.reports();
    let parts: Vec<_> = reports.iter().filter(|r| r.applications_full).collect();
    assert!(parts.len() > 3, "{}", parts.len());
    for (index, part) in parts.iter().enumerate() {
        assert_eq!(part.applications_chunk as usize, index);
        assert_eq!(part.applications_chunks as usize, parts.len());
        assert_eq!(
            !part.applications_digest.is_empty(),
            index + 1 == parts.len()
        );
        assert!(prost::Message::encoded_len(*part) < CHUNK_BYTES + 1024);
    }
    let numbers: Vec<u64> = reports.iter().map(|r| r.seq).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let all: Vec<_> = parts.iter().flat_map(|part| told(part)).collect();
    assert_eq!(all.len(), 30);
}

#[test]
fn specs_are_told_when_asked_for() {
    let mut side = Side::open(&[feature::OWNED_APPLICATIONS]);
    side.reports();
    side.ack(1);
    let hash = SpecHash([4; 32]);
    side.hear(Message::ReportRequest(v1::ReportRequest {
        spec_hashes: vec![hash.0.to_vec(), vec![1, 2]],
        ..Default::default()
    }));
    assert_eq!(side.child.wanted_specs(), [hash]);
    side.specs = vec![
        v1::Spec {
            hash: hash.0.to_vec(),
            body: vec![0; 40_000],
        };
        2
    ];
    let reports = side.reports();
    let bodies: Vec<usize> = reports.iter().map(|r| r.specs.len()).collect();
    assert_eq!(bodies, [0, 1, 1], "each in a message of its own");
    assert!(side.child.wanted_specs().is_empty());
}
