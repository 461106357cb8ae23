//! A database that was lost, or restored to an older copy, under children that go on.

use edgeio_domain::{child::Accepted, lifecycle::Phase, records::Desired};
use edgeio_link::convert;
use edgeio_proto::link::v1::{self, RefusalReason};
use edgeio_store::Store;

use crate::bed::{Bed, Session, acks, asg, entry, full, part, refusals, sent};

#[tokio::test]
async fn after_a_loss_the_child_is_adopted_and_nothing_is_sent_before_it_told_everything() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let before = bed.point().await;
    let old = bed.attached(child, 1, Vec::new()).await;
    bed.wait(1);
    let empty = bed.empty();
    let bed = bed.with(empty);
    bed.child(1).await;
    bed.order(child, 11, 1, Desired::Run).await;
    let session = bed.open(child, 2, Some(before)).await;
    assert!(session.adopting);
    assert!(bed.meta().await.issuer_epoch > before.issuer_epoch);
    assert!(
        session.epoch > old.epoch,
        "late messages of the old session are of no use"
    );
    assert_eq!(bed.hub.push().await.unwrap().len(), 0);
    let session = Session {
        point: before,
        ..session
    };
    let running = entry(asg(10), 1, Desired::Run, Phase::Running);
    let outbox = bed.tell(session, full(1, vec![running])).await;
    assert_eq!(acks(&outbox), [1]);
    assert_eq!(sent(&outbox).len(), 1, "what is held is not sent");
    assert_eq!(bed.row(10).await.unwrap().desired, Desired::Hold);
}

#[tokio::test]
async fn a_restored_database_finds_that_it_is_older_also_in_a_session_that_it_knows() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let session = bed.attached(child, 1, Vec::new()).await;
    let older = bed.copy();
    bed.order(child, 10, 1, Desired::Run).await;
    let newer = Session {
        point: bed.point().await,
        ..session
    };
    let running = entry(asg(10), 1, Desired::Run, Phase::Running);
    bed.tell(newer, part(2, vec![running.clone()])).await;

    let bed = bed.with(older);
    let outbox = bed.tell(newer, part(3, Vec::new())).await;
    assert_eq!(refusals(&outbox), [RefusalReason::StaleSession]);
    let again = bed.open(child, 1, Some(newer.point)).await;
    assert!(again.adopting, "the same attempt gets another session");
    assert!(again.epoch > session.epoch);
    let again = Session {
        point: newer.point,
        ..again
    };
    let outbox = bed.tell(again, full(1, vec![running])).await;
    assert_eq!(acks(&outbox), [1]);
    assert_eq!(bed.row(10).await.unwrap().desired, Desired::Hold);
    let repeated = bed.open(child, 1, Some(newer.point)).await;
    assert_eq!(repeated.epoch, again.epoch);
}

#[tokio::test]
async fn a_child_whose_session_is_older_than_the_issuer_epoch_gets_everything_anew() {
    let bed = Bed::new();
    let (child, other) = (bed.child(1).await, bed.child(2).await);
    let session = bed.attached(child, 1, Vec::new()).await;
    let mut foreign = bed.point().await;
    foreign.lineage = edgeio_domain::ids::Lineage(crate::bed::uuid(77));
    bed.open(other, 2, Some(foreign)).await;
    assert!(bed.meta().await.issuer_epoch > session.point.issuer_epoch);
    bed.order(child, 10, 1, Desired::Run).await;
    bed.hub.push().await.unwrap();
    bed.wait(10_000);
    let outbox = bed.tell(session, part(2, Vec::new())).await;
    let whole = crate::bed::only(&outbox, |m| match m {
        v1::parent_message::Message::Snapshot(snapshot) => Some(snapshot.entries.len()),
        _ => None,
    });
    assert_eq!(
        whole,
        [1],
        "a delta of another epoch would be dropped: {outbox:?}"
    );
}

#[tokio::test]
async fn an_order_that_was_lost_gives_way_to_this_database_s_own() {
    // What the child holds under which generation; the order here is RUN of generation 2 without a restart.
    for (desired, generation, restarts, renewed) in [
        (Desired::Pause, 2, 0, 3),
        (Desired::Run, 2, 1, 3),
        (Desired::Run, 5, 1, 6),
        (Desired::Pause, 5, 0, 6),
    ] {
        let bed = Bed::new();
        let child = bed.child(1).await;
        bed.order(child, 10, 2, Desired::Run).await;
        let held = v1::InstanceReport {
            restart_count: restarts,
            ..entry(asg(10), generation, desired, Phase::Running)
        };
        let session = bed.open(child, 1, Some(bed.point().await)).await;
        let outbox = bed.tell(session, full(1, vec![held])).await;
        assert_eq!(
            sent(&outbox),
            [(asg(10).to_string(), renewed, v1::Desired::Run)],
            "{desired:?} {generation} {restarts}"
        );
    }
}

#[tokio::test]
async fn what_a_child_includes_of_another_database_is_not_subtracted_here() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let offer = |includes_revision| v1::Capacity {
        workers: 1,
        includes_revision,
        ..Default::default()
    };
    let mut other = bed.point().await;
    other.lineage = edgeio_domain::ids::Lineage(crate::bed::uuid(77));
    let session = bed.open(child, 1, Some(other)).await;
    let told = |bed: &Bed| {
        let store = bed.store.clone();
        async move {
            let child = store.read().await.unwrap().child(child).await.unwrap();
            child.unwrap().capacity.includes_revision
        }
    };
    for (seq, point, included) in [
        (1, other, 0),
        (2, session.point, 50),
        (
            3,
            Accepted {
                issuer_epoch: 0,
                ..session.point
            },
            0,
        ),
    ] {
        let report = v1::Report {
            capacity: Some(offer(50)),
            ..full(seq, Vec::new())
        };
        let said = v1::child_message::Message::Report(v1::Report {
            session_epoch: session.epoch,
            applied: Some(convert::accepted_to_wire(&point)),
            ..report
        });
        bed.say(child, said).await;
        assert_eq!(told(&bed).await, included, "report {seq}");
    }
}
