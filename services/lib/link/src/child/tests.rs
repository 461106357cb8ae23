//! The child's half, one situation a test, with a parent that is played by hand.

use std::{collections::BTreeMap, time::Duration};

use edgeio_domain::{
    child::Accepted,
    digest,
    ids::{AssignmentId, AttachId, ChildId, Lineage},
    records::Desired,
    time::Time,
};
use edgeio_proto::link::v1::{self, child_message, parent_message::Message};
use uuid::Uuid;

use super::{Child, Identity, Step, View};
use crate::{
    holdings::{Acceptance, Held, Holdings},
    version::Offer,
};

const LINEAGE: u128 = 100;

#[derive(Default)]
struct Model(BTreeMap<AssignmentId, Held>);

impl Holdings for Model {
    fn held(&self, id: AssignmentId) -> Option<Held> {
        self.0.get(&id).copied()
    }
    fn is_tombstoned(&self, id: AssignmentId) -> bool {
        id == asg(99)
    }
    fn ids(&self) -> Vec<AssignmentId> {
        self.0.keys().copied().collect()
    }
}

/// A child, what it holds, and the time.
struct Side {
    child: Child,
    model: Model,
    states: Vec<(AssignmentId, u64)>,
    now: Time,
}

fn asg(n: u128) -> AssignmentId {
    AssignmentId(Uuid::from_u128(n))
}

fn attach(n: u128) -> AttachId {
    AttachId(Uuid::from_u128(n))
}

fn point(lineage: u128, issuer_epoch: u64, revision: u64) -> Accepted {
    Accepted {
        lineage: Lineage(Uuid::from_u128(lineage)),
        issuer_epoch,
        revision,
    }
}

fn message(session_epoch: u64, message: Message) -> v1::ParentMessage {
    v1::ParentMessage {
        session_epoch,
        message: Some(message),
    }
}

fn snapshot(to: Accepted, ids: &[u128]) -> Message {
    let entry = |n: &u128| v1::Assignment {
        id: asg(*n).to_string(),
        generation: 1,
        desired: v1::Desired::Run.into(),
        ..Default::default()
    };
    Message::Snapshot(v1::Snapshot {
        lineage: to.lineage.to_string(),
        issuer_epoch: to.issuer_epoch,
        revision: to.revision,
        entries: ids.iter().map(entry).collect(),
        chunks: 1,
        ..Default::default()
    })
}

fn refusal(reason: v1::RefusalReason) -> Message {
    Message::Refusal(v1::Refusal {
        reason: reason.into(),
        message: String::new(),
    })
}

impl Side {
    /// A child with an open session of that number.
    fn open(session: u64) -> Self {
        let identity = Identity {
            id: ChildId(Uuid::from_u128(1)),
            version: String::new(),
            boot_id: String::new(),
        };
        let mut side = Side {
            child: Child::new(identity, None),
            model: Model::default(),
            states: Vec::new(),
            now: Time(1_000_000),
        };
        side.connect(1, session);
        side
    }

    fn connect(&mut self, attempt: u128, session: u64) {
        self.child.connect(attach(attempt), self.now);
        self.welcome(attempt, session);
        assert!(self.child.is_open());
    }

    fn welcome(&mut self, attempt: u128, session: u64) {
        let welcome = v1::Welcome {
            protocol: crate::PROTOCOL,
            attach_id: attach(attempt).to_string(),
            lineage: point(LINEAGE, 1, 0).lineage.to_string(),
            issuer_epoch: 1,
            report_interval_ms: 15_000,
            ..Default::default()
        };
        assert!(self.hear(session, Message::Welcome(welcome)).is_empty());
    }

    fn hear(&mut self, session: u64, body: Message) -> Vec<Step> {
        let steps = self
            .child
            .receive(message(session, body), &self.model, self.now);
        for step in &steps {
            if let Step::Accept(acceptance) = step {
                self.take(acceptance);
            }
        }
        steps
    }

    fn take(&mut self, acceptance: &Acceptance) {
        for entry in &acceptance.take {
            let held = Held {
                generation: entry.generation,
                desired: Desired::Run,
                restart_count: 0,
                orphan: false,
            };
            self.model.0.insert(entry.id.parse().unwrap(), held);
        }
        self.child.accepted(acceptance);
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    fn poll(&mut self) -> Vec<child_message::Message> {
        let capacity = v1::Capacity::default();
        let view = View {
            states: &self.states,
            assignments: digest::assignments([]),
            digest: digest::states([]),
            render: &|id| {
                Some(v1::InstanceReport {
                    id: id.to_string(),
                    ..Default::default()
                })
            },
            capacity: (1, &capacity),
            owned: None,
            specs: &[],
        };
        let messages = self.child.poll(&view, self.now);
        messages.into_iter().filter_map(|m| m.message).collect()
    }

    fn reports(&mut self) -> Vec<v1::Report> {
        let report = |message| match message {
            child_message::Message::Report(report) => Some(report),
            child_message::Message::Hello(_) | child_message::Message::Telemetry(_) => None,
        };
        self.poll().into_iter().filter_map(report).collect()
    }
}

fn ack(seq: u64) -> Message {
    ack_with(seq, None)
}

fn ack_with(recorded_seq: u64, newest_order: Option<u64>) -> Message {
    Message::Ack(v1::Ack {
        recorded_seq,
        newest_order,
    })
}

#[test]
fn a_full_report_has_the_capacity_in_it_since_the_report_that_had_it_may_be_lost() {
    let mut side = Side::open(1);
    assert!(side.reports()[0].capacity.is_some());
    side.hear(1, ack(1));
    assert!(side.reports().is_empty());
    side.hear(
        1,
        Message::ReportRequest(v1::ReportRequest {
            full: true,
            ..Default::default()
        }),
    );
    let reports = side.reports();
    assert!(reports[0].full);
    assert!(reports[0].capacity.is_some());
}

#[test]
fn orders_of_a_database_that_is_gone_act_on_nothing_though_the_session_has_their_number() {
    let mut side = Side::open(1);
    let steps = side.hear(1, snapshot(point(LINEAGE, 1, 5), &[1]));
    assert!(matches!(&steps[..], [Step::Accept(_)]));
    for late in [point(LINEAGE + 1, 1, 50), point(LINEAGE, 0, 50)] {
        assert!(side.hear(1, snapshot(late, &[2])).is_empty(), "{late:?}");
    }
    let risen = point(LINEAGE, 2, 6);
    assert!(
        matches!(&side.hear(1, snapshot(risen, &[1]))[..], [Step::Accept(_)]),
        "an epoch that rose meanwhile is the same database's"
    );
}

#[test]
fn two_of_one_identity_yield_for_longer_and_longer_and_not_at_the_same_time() {
    let pauses = |attempt: u128| {
        let mut side = Side::open(1);
        side.connect(attempt, 2);
        let mut pauses = Vec::new();
        for session in 2..12 {
            let steps = side.hear(session, refusal(v1::RefusalReason::StaleSession));
            let [Step::Superseded(pause)] = steps[..] else {
                panic!("{steps:?}");
            };
            pauses.push(pause);
            assert_eq!(side.child.due(side.now), Some(side.now + pause));
            assert!(side.poll().is_empty(), "not before the pause is over");
            side.wait(u64::try_from(pause.as_millis()).unwrap());
            assert!(matches!(
                side.poll()[..],
                [child_message::Message::Hello(_)]
            ));
            side.welcome(attempt, session + 1);
        }
        pauses
    };
    let (low, high) = (pauses(0x100), pauses(0x1ff));
    assert!(low.windows(2).all(|pair| pair[0] <= pair[1]), "{low:?}");
    assert_eq!(high.last(), Some(&Duration::from_secs(60)));
    assert_eq!(low.last(), Some(&Duration::from_secs(30)));
}

#[test]
fn after_a_long_session_the_pause_is_short_again() {
    let mut side = Side::open(1);
    for session in 1..8 {
        side.hear(session, refusal(v1::RefusalReason::StaleSession));
        side.welcome(1, session + 1);
    }
    side.wait(120_000);
    let steps = side.hear(8, refusal(v1::RefusalReason::StaleSession));
    assert!(matches!(steps[..], [Step::Superseded(pause)] if pause <= Duration::from_secs(1)));
}

#[test]
fn a_refusal_of_another_session_changes_nothing() {
    for reason in [
        v1::RefusalReason::StaleSession,
        v1::RefusalReason::UnknownChild,
        v1::RefusalReason::Protocol,
    ] {
        let mut side = Side::open(3);
        assert!(side.hear(2, refusal(reason)).is_empty(), "{reason:?}");
        assert!(side.child.is_open());
    }
}

#[test]
fn numbers_of_reports_go_on_when_the_same_session_is_opened_again() {
    let mut side = Side::open(3);
    assert_eq!(side.reports()[0].seq, 1);
    side.hear(3, refusal(v1::RefusalReason::StaleSession));
    side.welcome(1, 3);
    let report = side.reports().remove(0);
    assert_eq!((report.seq, report.full), (2, true));
}

#[test]
fn an_order_of_an_unknown_kind_changes_nothing_and_is_told_of() {
    let mut side = Side::open(1);
    side.hear(1, snapshot(point(LINEAGE, 1, 5), &[1]));
    let Message::Snapshot(mut later) = snapshot(point(LINEAGE, 1, 6), &[1, 2]) else {
        panic!("no snapshot");
    };
    for entry in &mut later.entries {
        entry.generation = 2;
        entry.desired = 42;
    }
    let steps = side.hear(1, Message::Snapshot(later));
    let [Step::Accept(acceptance)] = &steps[..] else {
        panic!("{steps:?}");
    };
    assert_eq!(acceptance.take, [], "neither is guessed at");
    assert_eq!(acceptance.orphaned, [], "what is held is named");
    let unread: Vec<&str> = acceptance
        .unread
        .iter()
        .map(|(id, _)| id.as_str())
        .collect();
    assert_eq!(unread, [asg(1).to_string(), asg(2).to_string()]);
    assert_eq!(side.model.held(asg(1)).unwrap().generation, 1);
}

#[test]
fn what_the_parent_picked_is_kept_for_the_session_or_refused() {
    let offer = Offer {
        spoken: 2..=3,
        features: &["a", "b"],
    };
    let mut side = Side::open(1);
    side.child = side.child.offering(offer);
    side.child.connect(attach(2), side.now);
    let Some(child_message::Message::Hello(hello)) = side.poll().pop() else {
        panic!("no hello");
    };
    assert_eq!((hello.protocol_min, hello.protocol_max), (2, 3));
    assert_eq!(hello.features, ["a", "b"]);
    let welcome = |protocol| {
        Message::Welcome(v1::Welcome {
            protocol,
            features: ["b", "c"].map(str::to_owned).to_vec(),
            attach_id: attach(2).to_string(),
            lineage: point(LINEAGE, 1, 0).lineage.to_string(),
            ..Default::default()
        })
    };
    for other in [1, 4] {
        let steps = side.hear(2, welcome(other));
        assert!(matches!(&steps[..], [Step::Incompatible(_)]), "{steps:?}");
        assert_eq!(side.child.agreed(), None);
    }
    assert!(side.hear(2, welcome(2)).is_empty());
    let agreed = side.child.agreed().unwrap();
    assert_eq!(agreed.protocol, 2);
    assert!(agreed.has("b") && !agreed.has("a") && !agreed.has("c"));
    side.child.disconnect();
    assert_eq!(side.child.agreed(), None);
}

/// A child that has applied revision 5 and sent report 1 for it at the time that is returned.
fn applied() -> (Side, Time) {
    let mut side = Side::open(1);
    side.hear(1, snapshot(point(LINEAGE, 1, 5), &[1]));
    let sent = side.now;
    assert_eq!(side.reports().len(), 1);
    (side, sent)
}

#[test]
fn a_lease_counts_from_when_the_report_was_sent_however_late_its_ack_comes() {
    let (mut side, sent) = applied();
    assert_eq!(side.child.renewed(), None, "a Welcome renews nothing");
    side.wait(40_000);
    side.hear(1, ack_with(1, Some(5)));
    assert_eq!(side.child.renewed(), Some(sent));
    side.hear(1, ack_with(1, Some(5)));
    assert_eq!(side.child.renewed(), Some(sent), "told twice");
    let second = side.now;
    assert_eq!(side.reports()[0].seq, 2);
    side.wait(1_000);
    side.hear(1, ack_with(2, Some(4)));
    assert_eq!(side.child.renewed(), Some(second));
}

#[test]
fn an_ack_renews_nothing_while_an_order_is_missing_or_leases_are_not_granted() {
    for newest in [None, Some(6), Some(u64::MAX)] {
        let (mut side, _) = applied();
        side.hear(1, ack_with(1, newest));
        assert_eq!(side.child.renewed(), None, "{newest:?}");
    }
    let (mut side, _) = applied();
    side.hear(1, ack_with(1, Some(6)));
    side.hear(1, snapshot(point(LINEAGE, 1, 6), &[1]));
    let sent = side.now;
    assert_eq!(side.reports()[0].seq, 2);
    side.hear(1, ack_with(2, Some(6)));
    assert_eq!(side.child.renewed(), Some(sent), "the order is applied now");
}

#[test]
fn an_ack_of_another_session_or_of_its_reports_renews_nothing() {
    let (mut side, _) = applied();
    side.connect(2, 2);
    side.hear(1, ack_with(1, Some(5)));
    side.hear(2, ack_with(1, Some(5)));
    assert_eq!(side.child.renewed(), None);
    let sent = side.now;
    assert_eq!(side.reports()[0].seq, 2);
    side.hear(2, ack_with(2, Some(5)));
    assert_eq!(side.child.renewed(), Some(sent));
    side.wait(1_000);
    side.connect(3, 3);
    assert_eq!(
        side.child.renewed(),
        Some(sent),
        "a new session takes nothing away: the parent did record it"
    );
}

#[test]
fn an_ack_of_another_database_renews_nothing() {
    let (mut side, _) = applied();
    let welcome = |lineage, issuer_epoch| {
        Message::Welcome(v1::Welcome {
            protocol: crate::PROTOCOL,
            attach_id: attach(2).to_string(),
            lineage: point(lineage, 1, 0).lineage.to_string(),
            issuer_epoch,
            report_interval_ms: 15_000,
            ..Default::default()
        })
    };
    for (lineage, issuer_epoch) in [(LINEAGE + 1, 1), (LINEAGE, 2)] {
        side.child.connect(attach(2), side.now);
        side.hear(2, welcome(lineage, issuer_epoch));
        let seq = side.reports()[0].seq;
        side.hear(2, ack_with(seq, Some(0)));
        assert_eq!(side.child.renewed(), None, "{lineage} {issuer_epoch}");
        side.hear(2, snapshot(point(lineage, issuer_epoch, 7), &[1]));
        let seq = side.reports()[0].seq;
        let sent = side.now;
        side.hear(2, ack_with(seq, Some(7)));
        assert_eq!(side.child.renewed(), Some(sent));
        (side, _) = applied();
    }
}

#[test]
fn reports_go_out_as_often_as_the_leases_need() {
    let (mut side, _) = applied();
    side.hear(1, ack_with(1, Some(5)));
    side.child.hasten(Some(Duration::from_secs(1)));
    assert_eq!(
        side.child.due(side.now),
        Some(side.now + Duration::from_secs(1))
    );
    side.wait(999);
    assert!(side.reports().is_empty());
    side.wait(1);
    assert_eq!(side.reports().len(), 1);
    side.child.hasten(Some(Duration::from_secs(900)));
    side.hear(1, ack_with(2, Some(5)));
    assert_eq!(
        side.child.due(side.now),
        Some(side.now + Duration::from_secs(15)),
        "never later than the parent asked for"
    );
}

proptest::proptest! {
    /// Whatever is sent, acknowledged, lost, repeated or late: the lease is the time at which a report of this session was
    /// sent that the parent had recorded with all of its orders applied, and never goes back.
    #[test]
    fn a_lease_never_says_more_than_the_parent_recorded(steps in proptest::collection::vec((0_u8..5, 0_u64..8, 0_u64..20_000), 1..60)) {
        let (mut side, sent) = applied();
        let mut sent = BTreeMap::from([(1_u64, sent)]);
        let (mut session, mut attempt, mut revision) = (1, 1, 5);
        let mut allowed: Option<Time> = None;
        for (what, number, millis) in steps {
            side.wait(millis);
            match what {
                0 => for report in side.reports() {
                    sent.insert(report.seq, side.now);
                },
                1 => {
                    let seq = sent.keys().next_back().copied().unwrap_or(0).saturating_sub(number);
                    allowed = allowed.max(sent.range(..=seq).next_back().map(|(_, at)| *at));
                    side.hear(session, ack_with(seq, Some(revision)));
                }
                2 => {
                    side.hear(session, ack_with(u64::MAX, Some(revision + 1 + number)));
                    sent.clear();
                }
                3 => {
                    session += 1;
                    attempt += 1;
                    sent.clear();
                    side.connect(attempt, session);
                    side.hear(session - 1, ack_with(u64::MAX, Some(revision)));
                }
                _ => {
                    revision += 1;
                    side.hear(session, snapshot(point(LINEAGE, 1, revision), &[1]));
                }
            }
            let renewed = side.child.renewed();
            proptest::prop_assert!(renewed <= allowed, "{renewed:?} {allowed:?}");
        }
    }
}
