//! Orders on their way down, and the states that answer them.

use edgeio_domain::{lifecycle::Phase, records::Desired};
use edgeio_proto::link::v1::{self, RejectionReason};
use edgeio_store::{Store as _, Write};

use crate::bed::{Bed, acks, asg, beat, entry, full, part, refusing, sent};

#[tokio::test]
async fn orders_follow_the_full_report_and_then_each_change() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let session = bed.open(child, 1, None).await;
    assert_eq!(
        bed.hub.push().await.unwrap().len(),
        0,
        "its report comes first"
    );
    let outbox = bed.tell(session, full(1, Vec::new())).await;
    assert_eq!(
        sent(&outbox),
        [],
        "it has applied this revision, so it says"
    );
    bed.order(child, 11, 1, Desired::Run).await;
    let outbox = bed.hub.push().await.unwrap();
    assert_eq!(sent(&outbox), [(asg(11).to_string(), 1, v1::Desired::Run)]);
    assert_eq!(bed.hub.push().await.unwrap().len(), 0, "once");
}

#[tokio::test]
async fn a_stop_is_done_when_it_is_answered_by_its_own_generation() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 2, Desired::Stop).await;
    let session = bed
        .attached(
            child,
            1,
            vec![entry(asg(10), 1, Desired::Run, Phase::Running)],
        )
        .await;
    let early = entry(asg(10), 1, Desired::Run, Phase::Stopped);
    bed.tell(session, part(2, vec![early])).await;
    assert!(bed.row(10).await.is_some());
    let done = entry(asg(10), 2, Desired::Stop, Phase::Stopped);
    bed.tell(session, part(3, vec![done])).await;
    assert_eq!(bed.row(10).await, None);
}

#[tokio::test]
async fn a_full_report_ends_the_stops_that_were_applied_and_nothing_else() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 2, Desired::Stop).await;
    bed.order(child, 11, 1, Desired::Run).await;
    let applied = bed.open(child, 1, Some(bed.point().await)).await;
    bed.order(child, 12, 2, Desired::Stop).await;
    bed.tell(applied, full(1, Vec::new())).await;
    let left: Vec<_> = bed.rows().await.iter().map(|a| a.id).collect();
    assert_eq!(
        left,
        [asg(11), asg(12)],
        "the stop of 12 came after what the child has applied"
    );
}

#[tokio::test]
async fn a_full_report_in_parts_counts_when_all_are_there() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 2, Desired::Stop).await;
    bed.order(child, 11, 2, Desired::Stop).await;
    let session = bed.open(child, 1, Some(bed.point().await)).await;
    let chunk = |seq, chunk, entries| v1::Report {
        chunk,
        chunks: 2,
        ..full(seq, entries)
    };
    let stopping = |n| entry(asg(n), 2, Desired::Stop, Phase::Stopping);
    bed.tell(session, chunk(1, 0, vec![stopping(10)])).await;
    assert_eq!(bed.rows().await.len(), 2, "11 may be in the other part");
    bed.tell(session, chunk(2, 1, Vec::new())).await;
    let left: Vec<_> = bed.rows().await.iter().map(|a| a.id).collect();
    assert_eq!(left, [asg(10)]);
}

#[tokio::test]
async fn a_refusal_is_noted_at_the_slot_stopped_and_grows() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let refusal = refusing(
        entry(asg(10), 1, Desired::Run, Phase::Pending),
        RejectionReason::Unplaceable,
    );
    let session = bed.attached(child, 1, vec![refusal.clone()]).await;
    let row = bed.row(10).await.unwrap();
    assert_eq!((row.desired, row.generation), (Desired::Stop, 2));
    let first = bed.slot(10).await.unwrap().refusals.remove(0);
    assert_eq!((first.child, first.times), (child, 1));
    bed.tell(session, part(2, vec![refusal])).await;
    let again = bed.slot(10).await.unwrap().refusals.remove(0);
    assert_eq!(again, first, "said twice, it counts once");

    bed.order(child, 10, 5, Desired::Run).await;
    bed.write([]).await;
    let later = refusing(
        entry(asg(10), 5, Desired::Run, Phase::Pending),
        RejectionReason::Unsupported,
    );
    bed.tell(session, part(3, vec![later])).await;
    assert_eq!(bed.row(10).await.unwrap().generation, 6);
}

#[tokio::test]
async fn an_id_that_the_child_has_buried_is_given_up_once_it_is_known_to_have_stopped() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let refusal = refusing(
        entry(asg(10), 1, Desired::Stop, Phase::Stopped),
        RejectionReason::Tombstoned,
    );
    let session = bed.attached(child, 1, vec![refusal]).await;
    let row = bed.row(10).await.unwrap();
    assert_eq!(
        (row.desired, row.generation),
        (Desired::Stop, 2),
        "it refuses it also while it is still stopping"
    );
    let stopping = entry(asg(10), 2, Desired::Stop, Phase::Stopping);
    bed.tell(session, part(2, vec![stopping])).await;
    assert!(bed.row(10).await.is_some());
    let stopped = entry(asg(10), 2, Desired::Stop, Phase::Stopped);
    bed.tell(session, part(3, vec![stopped])).await;
    assert_eq!(bed.row(10).await, None);
    assert_eq!(
        bed.slot(10).await.unwrap().desired,
        Desired::Run,
        "it is placed anew"
    );
}

/// Orders it again and again, refuses it each time after a pause, and returns what is noted of the child: how often in a row
/// it refused, and for how many seconds it is left alone.
async fn refused(reason: RejectionReason, pauses: &[i64]) -> Vec<(u32, u64)> {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let order = bed.row(10).await.unwrap();
    let session = bed.attached(child, 1, Vec::new()).await;
    let mut noted = Vec::new();
    for (seq, pause) in (2..).zip(pauses) {
        bed.wait(*pause);
        bed.write([Write::PutAssignment {
            assignment: order.clone(),
            ordered: true,
        }])
        .await;
        let refusal = refusing(entry(asg(10), 1, Desired::Run, Phase::Pending), reason);
        bed.tell(session, part(seq, vec![refusal])).await;
        let said = bed.slot(10).await.unwrap().refusals.remove(0);
        noted.push((said.times, said.until.since(bed.now()).as_secs()));
    }
    noted
}

#[tokio::test]
async fn a_child_that_refuses_again_is_left_alone_for_longer_until_it_is_long_ago() {
    let noted = refused(RejectionReason::Unwilling, &[0, 2_000, 4_000, 100_000]).await;
    assert_eq!(noted, [(1, 2), (2, 4), (3, 8), (1, 2)]);
}

#[tokio::test]
async fn a_child_that_has_buried_an_id_takes_another_one_at_once_but_not_for_ever() {
    let noted = refused(RejectionReason::Tombstoned, &[0, 0, 4_000]).await;
    assert_eq!(noted, [(1, 0), (2, 4), (3, 8)]);
}

#[tokio::test]
async fn what_another_child_holds_is_not_told_by_this_one() {
    let bed = Bed::new();
    let (one, two) = (bed.child(1).await, bed.child(2).await);
    bed.order(one, 10, 1, Desired::Run).await;
    let running = entry(asg(10), 1, Desired::Run, Phase::Running);
    let session = bed.attached(two, 1, vec![running.clone()]).await;
    assert_eq!(bed.row(10).await.unwrap().observed.phase, Phase::Scheduled);
    // It is in the audit, but not each time.
    let audited = async || {
        let filter = edgeio_store::AuditFilter {
            limit: 100,
            ..Default::default()
        };
        let tx = bed.store.read().await.unwrap();
        tx.audit_entries(&filter).await.unwrap()
    };
    let entries = audited().await;
    assert_eq!(entries.len(), 1);
    let record = &entries[0].record;
    assert_eq!(
        (record.kind.as_str(), record.id.clone()),
        ("cluster", two.to_string())
    );
    assert_eq!(record.object, format!("instance/{}", asg(10)));
    assert_eq!(record.decision, edgeio_store::Decision::Denied);
    for seq in 2..8 {
        bed.wait(15_000);
        let told = v1::Report {
            entries: vec![running.clone()],
            ..beat(seq, &[])
        };
        bed.tell(session, told).await;
    }
    assert_eq!(audited().await.len(), 2, "once a minute");
    assert_eq!(bed.row(10).await.unwrap().observed.phase, Phase::Scheduled);
}

#[tokio::test]
async fn two_that_agree_say_nothing() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let running = entry(asg(10), 1, Desired::Run, Phase::Running);
    let session = bed.attached(child, 1, vec![running.clone()]).await;
    let revision = bed.meta().await.revision;
    for seq in 2..5 {
        bed.wait(15_000);
        let outbox = bed
            .tell(session, beat(seq, std::slice::from_ref(&running)))
            .await;
        assert_eq!((acks(&outbox), outbox.len()), (vec![seq], 1));
    }
    assert_eq!(bed.meta().await.revision, revision, "and write nothing");
}
