//! The parent's half, in tables: what it makes of a report, and what it sends.

use edgeio_domain::{child::Accepted, digest, ids::Lineage, time::Time};
use edgeio_proto::link::v1::{self, parent_message};
use uuid::Uuid;

use super::{Facts, Parent, Receipt, Send};
use crate::convert::accepted_to_wire;

const SESSION: u64 = 7;

fn point(revision: u64) -> Accepted {
    Accepted {
        lineage: Lineage(Uuid::from_u128(1)),
        issuer_epoch: 2,
        revision,
    }
}

fn facts(newest_order: u64) -> Facts {
    Facts {
        point: point(20),
        newest_order,
        assignments: digest::assignments([]),
        states: digest::states([]),
        applications: digest::applications([]),
    }
}

/// A report of a child that has applied that much and agrees with the facts.
fn report(seq: u64, applied: u64) -> v1::Report {
    v1::Report {
        session_epoch: SESSION,
        seq,
        applied: Some(accepted_to_wire(&point(applied))),
        assignments_digest: facts(0).assignments.to_vec(),
        states_digest: facts(0).states.to_vec(),
        ..Default::default()
    }
}

fn full(seq: u64, chunk: u32, chunks: u32) -> v1::Report {
    v1::Report {
        full: true,
        chunk,
        chunks,
        ..report(seq, 20)
    }
}

fn acked(parent: &Parent) -> u64 {
    let Some(v1::parent_message::Message::Ack(ack)) = parent.ack(None).message else {
        panic!("no ack");
    };
    ack.recorded_seq
}

/// A session in which everything was told in one report.
fn told() -> Parent {
    let mut parent = Parent::new(SESSION, true);
    let receipt = parent.receive(&full(1, 0, 1));
    assert_eq!(
        receipt,
        Receipt::Record {
            completes_full: true
        }
    );
    parent
}

#[test]
fn nothing_behind_a_missing_report_is_acknowledged_until_everything_was_told() {
    let mut parent = told();
    let part = Receipt::Record {
        completes_full: false,
    };
    for (seq, receipt, ack) in [
        (2, part, 2),
        (4, part, 2),
        (3, Receipt::Repeated, 2),
        (5, part, 2),
    ] {
        assert_eq!(parent.receive(&report(seq, 20)), receipt, "report {seq}");
        assert_eq!(acked(&parent), ack, "after report {seq}");
    }
    assert_eq!(
        parent.answer(&report(5, 20), &facts(0), Time(0)),
        Some(Send::AskFull)
    );
    parent.receive(&full(6, 0, 1));
    assert_eq!(acked(&parent), 6);
    assert_eq!(parent.answer(&full(6, 0, 1), &facts(0), Time(0)), None);
}

#[test]
fn a_session_that_is_taken_up_again_acknowledges_nothing_before_everything_was_told() {
    let mut parent = Parent::new(SESSION, false);
    parent.receive(&report(40, 20));
    assert_eq!(acked(&parent), 0);
    parent.receive(&full(41, 0, 2));
    assert_eq!(acked(&parent), 0);
    parent.receive(&full(42, 1, 2));
    assert_eq!(acked(&parent), 42);
}

#[test]
fn a_full_report_in_parts_is_not_asked_for_again_while_it_comes() {
    let mut parent = Parent::new(SESSION, true);
    for chunk in 0..2 {
        let part = full(1 + u64::from(chunk), chunk, 3);
        parent.receive(&part);
        assert_eq!(parent.answer(&part, &facts(0), Time(0)), None);
    }
    let heartbeat = report(4, 20);
    parent.receive(&heartbeat);
    assert_eq!(
        parent.answer(&heartbeat, &facts(0), Time(0)),
        Some(Send::AskFull),
        "the last part is lost"
    );
}

#[test]
fn orders_are_sent_again_at_once_to_a_child_that_cannot_use_what_was_sent() {
    let snapshot = None;
    let delta = Some;
    // What was sent and from where, what the child has applied, the milliseconds since, and what follows.
    for (from, applied, after, again) in [
        (delta(10), 10, 0, None),
        (delta(10), 10, 2999, None),
        (delta(10), 10, 3000, Some(Send::Delta { from: 10 })),
        (delta(15), 10, 0, Some(Send::Delta { from: 10 })),
        (delta(10), 12, 0, None),
        (snapshot, 10, 0, None),
        (snapshot, 10, 3000, Some(Send::Delta { from: 10 })),
        (delta(10), 18, 0, None),
    ] {
        let mut parent = told();
        let send = from.map_or(Send::Snapshot, |from| Send::Delta { from });
        parent.entries(send, point(20), Vec::new(), Vec::new(), Time(0));
        assert_eq!(
            parent.answer(&report(2, applied), &facts(18), Time(after)),
            again,
            "{from:?}, {applied} applied, after {after} ms"
        );
    }
}

#[test]
fn a_child_of_another_database_gets_everything_once() {
    let mut parent = told();
    let mut other = report(2, 20);
    other.applied = None;
    assert_eq!(
        parent.answer(&other, &facts(0), Time(0)),
        Some(Send::Snapshot)
    );
    parent.entries(Send::Snapshot, point(20), Vec::new(), Vec::new(), Time(0));
    assert_eq!(parent.answer(&other, &facts(0), Time(2999)), None);
    assert_eq!(
        parent.answer(&other, &facts(0), Time(3000)),
        Some(Send::Snapshot)
    );
}

#[test]
fn what_differs_is_cured_and_what_agrees_is_left_alone() {
    let orders = v1::Report {
        assignments_digest: vec![1; 16],
        ..report(2, 20)
    };
    let states = v1::Report {
        states_digest: vec![1; 16],
        ..report(2, 20)
    };
    let without = v1::Report {
        assignments_digest: Vec::new(),
        states_digest: Vec::new(),
        ..report(2, 20)
    };
    for (report, answer) in [
        (report(2, 20), None),
        (orders, Some(Send::Snapshot)),
        (states, Some(Send::AskFull)),
        (without, None),
    ] {
        let mut parent = told();
        parent.receive(&report);
        assert_eq!(parent.answer(&report, &facts(18), Time(0)), answer);
    }
}

#[test]
fn new_orders_follow_what_was_sent() {
    let mut parent = told();
    assert_eq!(parent.push(10, 10), None);
    assert_eq!(parent.push(10, 11), Some(Send::Delta { from: 10 }));
    parent.entries(
        Send::Delta { from: 10 },
        point(20),
        Vec::new(),
        Vec::new(),
        Time(0),
    );
    assert_eq!(parent.push(10, 21), Some(Send::Delta { from: 20 }));
    assert_eq!(
        Parent::new(SESSION, true).push(0, 21),
        None,
        "not before everything was told"
    );
}

#[test]
fn a_report_of_another_session_is_stale() {
    let mut parent = told();
    let other = v1::Report {
        session_epoch: SESSION - 1,
        ..report(2, 20)
    };
    assert_eq!(parent.receive(&other), Receipt::Stale);
    assert_eq!(acked(&parent), 1);
}

#[test]
fn a_child_that_leaves_orders_unanswered_is_asked_with_growing_pauses() {
    let mut parent = told();
    assert!(!parent.nudge(0, Time(999_000)), "nothing was sent");
    let _ = parent.entries(Send::Snapshot, point(20), Vec::new(), Vec::new(), Time(0));
    let asked: Vec<i64> = (0..200)
        .filter(|second| parent.nudge(5, Time(second * 1000)))
        .collect();
    assert_eq!(asked, [3, 9, 21, 45, 93, 189]);
    assert!(!parent.nudge(20, Time(999_000)), "it has applied them");
}

#[test]
fn a_snapshot_that_did_not_cure_is_followed_by_a_question_and_not_by_another_one() {
    let mut parent = told();
    let differs = |seq| v1::Report {
        assignments_digest: vec![1; 16],
        ..report(seq, 20)
    };
    let mut now = 0;
    for (seq, answer) in [
        (2, Send::Snapshot),
        (3, Send::AskFull),
        (5, Send::Snapshot),
        (6, Send::AskFull),
    ] {
        parent.receive(&differs(seq));
        now += 10_000;
        assert_eq!(
            parent.answer(&differs(seq), &facts(18), Time(now)),
            Some(answer),
            "report {seq}"
        );
        if answer == Send::Snapshot {
            let _ = parent.entries(answer, point(20), Vec::new(), Vec::new(), Time(now));
        } else {
            parent.receive(&full(seq + 1, 0, 1));
        }
    }
}

#[test]
fn what_is_missing_is_asked_for_before_digests_are_looked_at() {
    let mut parent = Parent::new(SESSION, false);
    let differs = v1::Report {
        assignments_digest: vec![1; 16],
        ..report(9, 20)
    };
    parent.receive(&differs);
    assert_eq!(
        parent.answer(&differs, &facts(18), Time(0)),
        Some(Send::AskFull)
    );
}

#[test]
fn parts_of_a_full_report_may_come_in_any_order() {
    let record = |completes_full| Receipt::Record { completes_full };
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let mut parent = told();
        let part = |chunk: u32| full(2 + u64::from(chunk), chunk, 3);
        for (index, chunk) in order.into_iter().enumerate() {
            assert_eq!(
                parent.receive(&part(chunk)),
                record(index == 2),
                "{order:?}"
            );
            if index < 2 {
                assert_eq!(parent.receive(&part(chunk)), Receipt::Repeated, "{order:?}");
                assert_eq!(parent.answer(&part(chunk), &facts(0), Time(0)), None);
            }
        }
        assert_eq!(acked(&parent), 4, "{order:?}");
        for chunk in order {
            assert_eq!(parent.receive(&part(chunk)), Receipt::Repeated, "{order:?}");
        }
    }
}

#[test]
fn a_part_that_newer_reports_overtook_is_not_recorded() {
    let mut parent = told();
    parent.receive(&full(2, 0, 3));
    parent.receive(&full(4, 2, 3));
    parent.receive(&report(5, 20));
    assert_eq!(parent.receive(&full(3, 1, 3)), Receipt::Repeated);
    assert_eq!(
        parent.answer(&report(5, 20), &facts(0), Time(0)),
        Some(Send::AskFull)
    );
}

#[test]
fn what_was_lost_and_is_not_needed_any_more_is_not_asked_about() {
    let mut parent = told();
    let _ = parent.entries(Send::Snapshot, point(20), Vec::new(), Vec::new(), Time(0));
    assert!(parent.nudge(19, Time(3_000)));
    let agrees = report(2, 19);
    parent.receive(&agrees);
    assert_eq!(parent.answer(&agrees, &facts(19), Time(4_000)), None);
    assert!(!parent.nudge(19, Time(999_000)));
}

#[test]
fn applications_that_differ_are_asked_for_once_in_a_while_and_only_where_the_child_tells_of_them() {
    let mut parent = told();
    let ask = |parent: &mut Parent, seq, digest: &[u8], now| {
        let report = v1::Report {
            applications_digest: digest.to_vec(),
            ..report(seq, 20)
        };
        parent.receive(&report);
        parent.answer(&report, &facts(0), Time(now))
    };
    let same = facts(0).applications;
    assert_eq!(ask(&mut parent, 2, &[], 0), None, "it does not tell");
    assert_eq!(ask(&mut parent, 3, &same, 0), None);
    assert_eq!(
        ask(&mut parent, 4, &[7; 16], 0),
        Some(Send::AskApplications)
    );
    assert_eq!(
        ask(&mut parent, 5, &[7; 16], 2_999),
        None,
        "it is on its way"
    );
    assert_eq!(
        ask(&mut parent, 6, &[7; 16], 3_000),
        Some(Send::AskApplications)
    );
    assert_eq!(ask(&mut parent, 7, &same, 3_001), None);
}

#[test]
fn orders_that_fill_two_parts_without_a_spec_are_all_sent() {
    let entry = |n: usize| v1::Assignment {
        id: format!("{n:036}"),
        application: "x".repeat(1000),
        ..Default::default()
    };
    for count in [1, 59, 60, 100, 200] {
        let entries: Vec<v1::Assignment> = (0..count).map(entry).collect();
        for send in [Send::Snapshot, Send::Delta { from: 3 }] {
            let mut parent = Parent::new(1, false);
            let point = Accepted::default();
            let messages = parent.entries(send, point, entries.clone(), Vec::new(), Time(0));
            let sent: Vec<v1::Assignment> = messages
                .into_iter()
                .flat_map(|message| match message.message {
                    Some(parent_message::Message::Snapshot(s)) => s.entries,
                    Some(parent_message::Message::Delta(d)) => d.entries,
                    _ => Vec::new(),
                })
                .collect();
            assert_eq!(sent.len(), count, "{send:?}");
            assert_eq!(sent, entries);
        }
    }
}

/// Numbers are the child's words: a hostile one says the largest.
#[test]
fn the_largest_numbers_of_a_child_are_only_numbers() {
    let mut parent = Parent::new(SESSION, true);
    for (chunk, chunks) in [(0, 1), (0, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 0)] {
        for seq in [u64::MAX - 1, u64::MAX, u64::MAX] {
            let report = full(seq, chunk, chunks);
            parent.receive(&report);
            parent.answer(&report, &facts(5), Time(0));
        }
    }
    assert_eq!(acked(&parent), u64::MAX);
}

/// Parts of a report that never is whole are not collected without end.
#[test]
fn a_report_of_too_many_parts_is_never_whole() {
    let mut parent = Parent::new(SESSION, true);
    for number in 0..100 {
        let receipt = parent.receive(&full(u64::from(number) + 1, number, u32::MAX));
        assert_eq!(
            receipt,
            Receipt::Record {
                completes_full: false
            }
        );
        assert!(!parent.full.has(&1, number), "part {number} is kept");
    }
}
