//! Orders of the root, durable before they count.

use edgeio_domain::{
    lifecycle::Phase,
    records::{Desired, Owner},
};
use edgeio_proto::link::v1;
use edgeio_store::{ApplicationFilter, Store, Write};

use super::bed::{Bed, order, phase, recorded, run, slot_id, stop, uuid};

#[tokio::test]
async fn orders_become_slots_and_the_point_is_kept_with_them() {
    let mut bed = Bed::new().await;
    bed.snapshot(vec![run(1), order(2, 1, v1::Desired::Pause)])
        .await;
    let wanted: Vec<_> = bed
        .slots()
        .await
        .iter()
        .map(|s| (s.id, s.desired))
        .collect();
    assert_eq!(
        wanted,
        [(slot_id(1), Desired::Run), (slot_id(2), Desired::Pause)]
    );
    let slot = bed.slot(1).await.unwrap();
    let upstream = slot.upstream.unwrap();
    assert_eq!((upstream.generation, upstream.orphan), (1, false));
    assert_eq!(slot.app.owner, Owner::Root);
    assert_eq!(slot.demand.cpu_millis, 1000);
    let meta = bed.store.read().await.unwrap().meta().await.unwrap();
    assert_eq!(meta.uplink.accepted, Some(bed.root));
    bed.delta(vec![order(2, 2, v1::Desired::Run)]).await;
    assert_eq!(bed.slot(2).await.unwrap().desired, Desired::Run);
}

#[tokio::test]
async fn a_stop_ends_with_a_tombstone_once_the_root_has_recorded_it() {
    let mut bed = Bed::new().await;
    bed.worker(50, 4, 4).await;
    bed.snapshot(vec![run(1)]).await;
    bed.plan().await;
    bed.all_are(Phase::Running).await;
    bed.reports().await;
    bed.delta(vec![stop(1)]).await;
    bed.plan().await;
    assert_eq!(phase(&bed.state(1).await), Phase::Stopping);
    bed.workers_stop().await;
    assert_eq!(phase(&bed.state(1).await), Phase::Stopped);
    assert!(bed.slot(1).await.is_some(), "the root may not know it yet");
    bed.recorded().await;
    assert_eq!(bed.slot(1).await, None);
    bed.delta(vec![order(1, 3, v1::Desired::Run)]).await;
    assert_eq!(bed.slot(1).await, None, "it never comes back");
    let refused = bed.state(1).await.rejection.unwrap();
    assert_eq!(refused.reason(), v1::RejectionReason::Tombstoned);
}

#[tokio::test]
async fn a_stop_of_what_is_not_here_is_answered_and_remembered() {
    let mut bed = Bed::new().await;
    bed.snapshot(vec![stop(1)]).await;
    assert_eq!(phase(&bed.state(1).await), Phase::Stopped);
    bed.recorded().await;
    bed.delta(vec![order(1, 3, v1::Desired::Stop)]).await;
    assert_eq!(phase(&bed.state(1).await), Phase::Stopped, "said again");
    assert!(bed.slots().await.is_empty());
}

#[tokio::test]
async fn a_newer_stop_that_comes_before_the_record_of_the_old_ones_answer_is_answered_too() {
    let mut bed = Bed::new().await;
    bed.snapshot(vec![stop(1)]).await;
    assert_eq!(phase(&bed.state(1).await), Phase::Stopped);
    bed.delta(vec![order(1, 4, v1::Desired::Stop)]).await;
    bed.recorded().await;
    let answer = bed.state(1).await;
    assert_eq!((phase(&answer), answer.generation), (Phase::Stopped, 4));
    bed.recorded().await;
    assert!(bed.slots().await.is_empty());
}

#[tokio::test]
async fn after_a_restart_what_was_stopped_is_told_again_and_then_settled() {
    let mut bed = Bed::new().await;
    bed.snapshot(vec![stop(1)]).await;
    bed.state(1).await;
    bed.restart().await;
    assert!(bed.slot(1).await.is_some());
    bed.recorded().await;
    assert!(bed.slots().await.is_empty());
}

#[tokio::test]
async fn what_a_snapshot_does_not_name_is_held_until_one_does() {
    let mut bed = Bed::new().await;
    bed.worker(50, 4, 4).await;
    bed.snapshot(vec![run(1)]).await;
    bed.plan().await;
    bed.all_are(Phase::Running).await;
    bed.snapshot(Vec::new()).await;
    bed.plan().await;
    assert!(bed.slot(1).await.unwrap().upstream.unwrap().orphan);
    assert_eq!(bed.instances().await[0].desired, Desired::Run, "it runs on");
    assert!(bed.state(1).await.orphan);
    bed.snapshot(vec![order(1, 2, v1::Desired::Run)]).await;
    assert!(!bed.slot(1).await.unwrap().upstream.unwrap().orphan);
}

#[tokio::test]
async fn a_new_application_gets_the_name_of_one_that_the_root_has_forgotten() {
    let mut bed = Bed::new().await;
    bed.worker(50, 4, 4).await;
    bed.snapshot(vec![run(1)]).await;
    bed.plan().await;
    bed.root.lineage = edgeio_domain::ids::Lineage(uuid(3));
    bed.root.issuer_epoch = 2;
    bed.attach().await;
    let newer = v1::Assignment {
        application_uid: uuid(901).to_string(),
        ..run(2)
    };
    bed.snapshot(vec![newer]).await;
    bed.plan().await;
    let names = |bed: &Bed| {
        let store = bed.store.clone();
        async move {
            let tx = store.read().await.unwrap();
            let all = tx
                .applications(&ApplicationFilter::default())
                .await
                .unwrap();
            all.iter().map(|a| a.uid.0).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(&bed).await, [uuid(901)]);
    assert!(bed.slot(1).await.unwrap().upstream.unwrap().orphan);
    assert_eq!(
        bed.instances().await.len(),
        2,
        "the old one is held, the new one placed"
    );
    // The root finds the old one and stops it: its application does not come back for that.
    bed.delta(vec![stop(1)]).await;
    assert_eq!(names(&bed).await, [uuid(901)]);
    assert_eq!(bed.slot(1).await.unwrap().desired, Desired::Stop);
}

#[tokio::test]
async fn an_order_that_cannot_be_understood_does_not_keep_the_others_out() {
    let mut bed = Bed::new().await;
    let nameless = v1::Assignment {
        application: "NO NAME".to_owned(),
        ..run(1)
    };
    let unknown = order(2, 1, v1::Desired::Unspecified);
    bed.snapshot(vec![nameless, unknown, run(3)]).await;
    let ids: Vec<_> = bed.slots().await.iter().map(|s| s.id).collect();
    assert_eq!(ids, [slot_id(3)]);
}

#[tokio::test]
async fn a_stop_waits_for_the_worker_that_the_root_had_seen_it_on() {
    let mut bed = Bed::new().await;
    let worker = bed.worker(50, 4, 4).await;
    let seen = |order: v1::Assignment| v1::Assignment {
        recorded: recorded(60, worker),
        ..order
    };
    bed.snapshot(vec![seen(stop(1)), seen(stop(2))]).await;
    bed.plan().await;
    let reports = bed.reports().await;
    let phases: Vec<_> = reports.iter().flat_map(|r| &r.entries).map(phase).collect();
    assert_eq!(
        phases,
        [Phase::Stopping, Phase::Stopping],
        "it may still run there"
    );
    let known = reports.iter().flat_map(|r| &r.entries);
    let known: Vec<_> = known.map(|e| e.incarnation.clone()).collect();
    let there = recorded(60, worker);
    assert_eq!(
        known,
        [there.clone(), there],
        "the root is not made to forget where"
    );
    bed.found(worker, 60, 1).await;
    bed.plan().await;
    assert_eq!(bed.instances().await[0].desired, Desired::Stop);
    bed.workers_stop().await;
    bed.reports().await;
    bed.wait(30_000);
    let reports = bed.reports().await;
    let phases: Vec<_> = reports.iter().flat_map(|r| &r.entries).map(phase).collect();
    assert_eq!(
        phases,
        [Phase::Stopped, Phase::Stopped],
        "every worker has reported by now"
    );
}

#[tokio::test]
async fn nothing_is_placed_while_the_recorded_instance_may_come_back() {
    let mut bed = Bed::new().await;
    let worker = bed.worker(50, 4, 4).await;
    let seen = v1::Assignment {
        recorded: recorded(60, worker),
        ..run(1)
    };
    bed.snapshot(vec![seen.clone()]).await;
    bed.plan().await;
    assert!(bed.instances().await.is_empty());
    bed.found(worker, 60, 1).await;
    bed.plan().await;
    let [instance] = &bed.instances().await[..] else {
        panic!("one instance");
    };
    assert_eq!((instance.id.0, instance.desired), (uuid(60), Desired::Run));

    let mut bed = Bed::new().await;
    bed.worker(50, 4, 4).await;
    bed.snapshot(vec![seen]).await;
    bed.wait(30_000);
    bed.plan().await;
    assert_eq!(bed.instances().await.len(), 1, "it did not come back");
    bed.write([Write::Compact(bed.wall())]).await;
    assert_eq!(bed.instances().await.len(), 1);
}
