//! Two replicas of a tier over one database: the newest session wins wherever it is, and who holds it judges silence.

use edgeio_domain::{child::ChildState, lifecycle::Phase, records::Desired};
use edgeio_proto::link::v1::RefusalReason;
use edgeio_store::Store;
use edgeio_tier::engine::Engine;

use crate::bed::{Bed, acks, asg, beat, entry, full, part, refusals, sent};

/// Lets time pass at both, as their loops do.
async fn pass(beds: [&Bed; 2], seconds: i64) {
    for _ in 0..seconds {
        beds[0].wait(1_000);
        for bed in beds {
            bed.hub.tick().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_session_at_one_replica_ends_when_a_newer_one_opens_at_another() {
    let (one, two) = Bed::two();
    let child = one.child(1).await;
    one.order(child, 10, 1, Desired::Run).await;
    let old = one.attached(child, 1, Vec::new()).await;
    let new = two.attached(child, 2, Vec::new()).await;
    assert!(new.epoch > old.epoch);

    let running = entry(asg(10), 1, Desired::Run, Phase::Running);
    for report in [
        part(2, vec![running.clone()]),
        full(3, vec![running.clone()]),
    ] {
        let outbox = one.tell(old, report).await;
        assert_eq!(refusals(&outbox), [RefusalReason::StaleSession]);
        assert_eq!(acks(&outbox), [0_u64; 0]);
    }
    let row = two.row(10).await.unwrap();
    assert_eq!(row.observed.phase, Phase::Scheduled, "nothing is recorded");
    let outbox = two.tell(new, part(2, vec![running])).await;
    assert_eq!(acks(&outbox), [2]);
    assert_eq!(two.row(10).await.unwrap().observed.phase, Phase::Running);

    // The old holder sends nothing more to a session that is none.
    one.hub.tick().await.unwrap();
    one.order(child, 11, 1, Desired::Run).await;
    assert!(one.hub.push().await.unwrap().is_empty());
    assert_eq!(sent(&two.hub.push().await.unwrap()).len(), 1);
}

#[tokio::test]
async fn a_session_that_goes_on_at_another_replica_is_recorded_there() {
    let (one, two) = Bed::two();
    let child = one.child(1).await;
    one.order(child, 10, 1, Desired::Run).await;
    let session = one.attached(child, 1, Vec::new()).await;
    let running = entry(asg(10), 1, Desired::Run, Phase::Running);
    let outbox = two.tell(session, full(2, vec![running])).await;
    assert_eq!(acks(&outbox), [2]);
    assert_eq!(two.row(10).await.unwrap().observed.phase, Phase::Running);
    let tx = two.store.read().await.unwrap();
    let holder = tx.child(child).await.unwrap().unwrap().holder;
    assert_eq!(holder, Some(two.context.replica));
}

#[tokio::test]
async fn only_who_holds_the_newest_session_judges_silence() {
    let (one, two) = Bed::two();
    let engine = Engine::new(two.context.clone());
    assert!(engine.run_once().await.unwrap().leads.is_some());
    let child = one.child(1).await;
    let session = one.attached(child, 1, Vec::new()).await;
    // The replica that leads hears nothing of this child, and that means nothing.
    for seq in 2..12 {
        pass([&two, &one], 15).await;
        one.tell(session, beat(seq, &[])).await;
        assert_eq!(one.state(child).await, ChildState::Ready);
    }
    pass([&two, &one], 44).await;
    assert_eq!(one.state(child).await, ChildState::Ready);
    pass([&two, &one], 1).await;
    assert_eq!(one.state(child).await, ChildState::Suspect);
}

#[tokio::test]
async fn children_of_a_replica_that_is_gone_are_judged_by_the_leader_from_when_it_noticed() {
    let (one, two) = Bed::two();
    let engine = Engine::new(two.context.clone());
    assert!(engine.run_once().await.unwrap().leads.is_some());
    let child = one.child(1).await;
    one.attached(child, 1, Vec::new()).await;
    pass([&one, &two], 3).await;
    // From here on only the leader is there: it notices after the lease, and then waits for the child as for any other.
    let mut waited = 0;
    while two.state(child).await == ChildState::Ready {
        two.wait(1_000);
        two.hub.tick().await.unwrap();
        waited += 1;
        assert!(waited < 90, "still ready after {waited} s");
    }
    assert!(waited >= 15 + 45 - 3, "called silent after {waited} s");
    let leases = two.store.read().await.unwrap().leases().await.unwrap();
    let gone = format!("replica:{}", one.context.replica);
    assert!(leases.iter().all(|lease| lease.name != gone), "{leases:?}");
    // It was only away: its child is its own again with the first report.
    let session = one.attached(child, 2, Vec::new()).await;
    for seq in 2..12 {
        pass([&one, &two], 15).await;
        one.tell(session, beat(seq, &[])).await;
        assert_eq!(one.state(child).await, ChildState::Ready);
    }
}

#[tokio::test]
async fn a_replica_that_neither_holds_nor_leads_judges_nobody() {
    let (one, two) = Bed::two();
    let child = one.child(1).await;
    one.attached(child, 1, Vec::new()).await;
    for _ in 0..300 {
        two.wait(1_000);
        two.hub.tick().await.unwrap();
    }
    assert_eq!(two.state(child).await, ChildState::Ready);
}
