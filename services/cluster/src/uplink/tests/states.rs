//! What became of the root's slots, as it is told.

use edgeio_domain::{
    child::{Child, ChildState, Replace},
    digest,
    lifecycle::Phase,
    records::Desired,
};
use edgeio_link::version::feature;
use edgeio_proto::link::v1;
use edgeio_store::Write;

use super::bed::{Bed, order, phase, run, stop, uuid};

#[tokio::test]
async fn a_state_is_told_once_and_again_when_it_changes() {
    let mut bed = Bed::new().await;
    bed.worker(50, 4, 4).await;
    bed.snapshot(vec![run(1)]).await;
    // Accepted, and no place was looked for yet: that is no reason to call it pending.
    assert_eq!(phase(&bed.state(1).await), Phase::Scheduled);
    bed.plan().await;
    let placed = bed.state(1).await;
    assert_eq!(phase(&placed), Phase::Scheduled);
    assert!(placed.incarnation.is_some());
    bed.all_are(Phase::Running).await;
    let running = bed.state(1).await;
    assert_eq!(phase(&running), Phase::Running);
    let lives = running.incarnation.unwrap();
    assert_eq!(lives.worker_name, "w50");
    assert_eq!(lives.instance_id, bed.instances().await[0].id.to_string());
    bed.recorded().await;
    assert!(bed.reports().await.is_empty());
    bed.wait(15_000);
    let heartbeat = bed.reports().await.remove(0);
    assert_eq!(heartbeat.entries, []);
    assert!(heartbeat.capacity.is_none());
}

#[tokio::test]
async fn that_a_worker_is_not_heard_is_told_and_its_substitute_stands_for_the_slot() {
    let mut bed = Bed::new().await;
    let silent = bed.worker(50, 4, 4).await;
    bed.snapshot(vec![run(1)]).await;
    bed.plan().await;
    bed.all_are(Phase::Running).await;
    assert!(!bed.state(1).await.unreachable);
    let worker = bed.context_child(silent).await;
    let disconnected = Child {
        state: ChildState::Disconnected,
        ..worker
    };
    bed.write([Write::PutChild(disconnected.clone())]).await;
    let told = bed.state(1).await;
    assert!(told.unreachable && phase(&told) == Phase::Running);
    let proven = Child {
        replace: Replace::Proven,
        ..disconnected.clone()
    };
    bed.worker(51, 4, 4).await;
    bed.write([Write::PutChild(proven)]).await;
    bed.plan().await;
    let told = bed.state(1).await;
    assert_eq!(told.incarnation.unwrap().worker_name, "w51");
    assert!(!told.unreachable);
}

#[tokio::test]
async fn what_has_no_place_is_told_with_its_reasons_and_handed_back_after_a_while() {
    let mut bed = Bed::new().await;
    bed.worker(50, 0, 4).await;
    bed.snapshot(vec![run(1)]).await;
    bed.plan().await;
    let pending = bed.state(1).await;
    assert_eq!(phase(&pending), Phase::Pending);
    assert_eq!(pending.candidates[0].name, "worker w50");
    assert_eq!(pending.rejection, None);
    bed.wait(5_000);
    bed.plan().await;
    let returned = bed.state(1).await.rejection.unwrap();
    assert_eq!(returned.reason(), v1::RejectionReason::Unplaceable);
    assert!(returned.message.contains("w50"), "{}", returned.message);
}

#[tokio::test]
async fn digests_leave_out_what_is_held_and_what_is_stopped() {
    let mut bed = Bed::new().await;
    bed.worker(50, 4, 4).await;
    bed.snapshot(vec![run(1), run(2), run(3)]).await;
    bed.plan().await;
    bed.all_are(Phase::Running).await;
    bed.snapshot(vec![run(1), order(3, 2, v1::Desired::Stop)])
        .await;
    bed.plan().await;
    let report = bed.reports().await.remove(0);
    let id = |n| edgeio_domain::ids::AssignmentId(uuid(n));
    assert_eq!(
        report.assignments_digest,
        digest::assignments([(id(1), 1, Desired::Run, 0)]),
        "the root holds 2, so it is not in its digest either"
    );
    assert_eq!(
        report.states_digest,
        digest::states([(id(1), Phase::Running, 0), (id(2), Phase::Running, 0)])
    );
}

#[tokio::test]
async fn what_was_handed_back_runs_after_all_when_there_is_room_and_the_root_is_silent() {
    let mut bed = Bed::new().await;
    bed.worker(50, 0, 4).await;
    bed.snapshot(vec![run(1)]).await;
    bed.plan().await;
    bed.wait(5_000);
    bed.plan().await;
    assert!(bed.state(1).await.rejection.is_some());
    bed.worker(51, 4, 4).await;
    bed.plan().await;
    bed.all_are(Phase::Running).await;
    let state = bed.state(1).await;
    assert_eq!((phase(&state), state.rejection), (Phase::Running, None));
    // The root's answer to the refusal comes late: it is an order as any other.
    bed.snapshot(vec![stop(1)]).await;
    bed.plan().await;
    bed.workers_stop().await;
    assert_eq!(phase(&bed.state(1).await), Phase::Stopped);
}

#[tokio::test]
async fn what_every_worker_refuses_is_handed_back_after_a_while() {
    let mut bed = Bed::new().await;
    let worker = bed.worker(50, 4, 4).await;
    bed.snapshot(vec![run(1)]).await;
    let mut asked = 0;
    let mut seconds = 0;
    let returned = loop {
        bed.plan().await;
        if !bed.instances().await.is_empty() {
            asked += 1;
            bed.refused(worker, 1, asked).await;
            bed.plan().await;
        }
        if let Some(rejection) = bed.state_or_none(1).await.and_then(|s| s.rejection) {
            break rejection;
        }
        seconds += 1;
        assert!(seconds < 60, "asked {asked} times");
        bed.wait(1_000);
    };
    assert!(
        returned.message.contains("no more today"),
        "{}",
        returned.message
    );
    assert_eq!(
        (asked, seconds),
        (2, 5),
        "asked at once and after 2 s, handed back after 5 s"
    );
}

#[tokio::test]
async fn what_cannot_be_heard_nor_replaced_is_handed_back_until_it_is_heard() {
    for (features, handed_back) in [
        (vec![feature::RETURNS_SILENT.to_owned()], true),
        (Vec::new(), false),
    ] {
        let mut bed = Bed::new().await;
        bed.features = features;
        bed.attach().await;
        let silent = bed.worker(50, 4, 4).await;
        bed.snapshot(vec![run(1)]).await;
        bed.plan().await;
        bed.all_are(Phase::Running).await;
        bed.state(1).await;
        bed.recorded().await;
        bed.worker(51, 0, 4).await;
        let heard = bed.context_child(silent).await;
        let proven = Child {
            state: ChildState::Disconnected,
            replace: Replace::Proven,
            ..heard.clone()
        };
        bed.write([Write::PutChild(proven)]).await;
        bed.wait(5_000);
        bed.plan().await;
        let told = bed.state(1).await;
        assert!(told.unreachable, "{told:?}");
        assert_eq!(phase(&told) == Phase::Pending, handed_back, "{told:?}");
        assert_eq!(told.rejection.is_some(), handed_back, "{told:?}");
        if handed_back {
            let rejection = told.rejection.unwrap();
            assert_eq!(rejection.reason(), v1::RejectionReason::Unplaceable);
            assert!(rejection.message.contains("w51"), "{rejection:?}");
            assert_eq!(told.incarnation.unwrap().worker_name, "w50");
            assert_eq!(told.candidates.len(), 2);
        }
        let [instance] = &bed.instances().await[..] else {
            panic!("nothing was placed beside it");
        };
        assert_eq!(instance.desired, Desired::Run, "it runs on where it is");

        bed.write([Write::PutChild(heard)]).await;
        bed.plan().await;
        let told = bed.state(1).await;
        assert_eq!((phase(&told), told.unreachable), (Phase::Running, false));
        assert_eq!(told.rejection, None);
        let returned = bed.slot(1).await.unwrap().upstream.unwrap().returned;
        assert_eq!(returned, None, "it is here after all");
    }
}
