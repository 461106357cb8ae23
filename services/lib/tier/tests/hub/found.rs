//! What a child holds and the database does not know.

use edgeio_domain::{
    ids::SpecHash,
    lifecycle::Phase,
    records::{Desired, Incarnation, Upstream},
    time::Time,
};
use edgeio_link::spec;
use edgeio_proto::api::v1::{ResourceSpec, ServiceSpec};
use edgeio_store::Write;

use crate::bed::{Bed, asg, entry, full, part, uuid};

fn running(n: u128) -> edgeio_proto::link::v1::InstanceReport {
    entry(asg(n), 3, Desired::Run, Phase::Running)
}

#[tokio::test]
async fn what_nobody_asked_for_is_held_and_left_alone() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let session = bed.attached(child, 1, vec![running(10)]).await;
    let row = bed.row(10).await.unwrap();
    assert_eq!((row.desired, row.generation), (Desired::Hold, 3));
    assert_eq!(row.app.name.as_str(), "web");
    bed.plan().await;
    assert_eq!(bed.row(10).await.unwrap().desired, Desired::Hold);
    bed.tell(session, full(2, Vec::new())).await;
    assert_eq!(
        bed.row(10).await,
        None,
        "what is not there any more is not shown"
    );
}

#[tokio::test]
async fn what_its_slot_wants_is_adopted_under_a_newer_generation() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    bed.write([Write::DeleteAssignment(asg(10))]).await;
    bed.attached(child, 1, vec![running(10)]).await;
    bed.plan().await;
    let row = bed.row(10).await.unwrap();
    assert_eq!((row.desired, row.generation), (Desired::Run, 4));
    assert_eq!(bed.rows().await.len(), 1, "nothing was placed beside it");
}

#[tokio::test]
async fn what_is_found_of_a_slot_that_is_gone_is_told_to_stop() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Stop).await;
    bed.write([Write::DeleteAssignment(asg(10))]).await;
    bed.plan().await;
    assert_eq!(bed.slot(10).await, None, "nothing is left of it");
    // A worker that was put back to an older copy of its disk runs it again.
    bed.attached(child, 1, vec![running(10)]).await;
    assert_eq!(bed.row(10).await.unwrap().desired, Desired::Stop);
}

#[tokio::test]
async fn what_was_stopped_before_is_told_to_stop() {
    for buried in [10, 1010] {
        let bed = Bed::new();
        let child = bed.child(1).await;
        bed.write([Write::PutTombstone(uuid(buried), Time(0))])
            .await;
        bed.attached(child, 1, vec![running(10)]).await;
        let row = bed.row(10).await.unwrap();
        assert_eq!(
            (row.desired, row.generation),
            (Desired::Stop, 4),
            "{buried}"
        );
        assert!(row.order_revision > 0, "it is sent");
    }
}

#[tokio::test]
async fn what_cannot_be_read_or_is_over_is_not_kept() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let mut nameless = running(10);
    nameless.id = "x".to_owned();
    let mut slotless = running(11);
    slotless.slot_id = String::new();
    let mut formless = running(12);
    formless.phase = 77;
    let over = entry(asg(13), 3, Desired::Stop, Phase::Stopped);
    let session = bed
        .attached(child, 1, vec![nameless, slotless, formless, over])
        .await;
    assert_eq!(bed.rows().await, []);
    bed.tell(session, part(2, Vec::new())).await;
}

#[tokio::test]
async fn what_its_slot_waited_for_is_waited_for_no_longer_once_it_is_here() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    bed.order(child, 10, 1, Desired::Run).await;
    let mut slot = bed.slot(10).await.unwrap();
    slot.upstream = Some(Upstream {
        slot: slot.id,
        generation: 1,
        recorded: Some(Incarnation {
            instance: asg(10),
            worker: child,
            worker_name: String::new(),
        }),
        hold_until: Time(i64::MAX),
        orphan: false,
        returned: None,
    });
    bed.write([Write::DeleteAssignment(asg(10)), Write::PutSlot(slot)])
        .await;
    bed.plan().await;
    assert_eq!(bed.rows().await, [], "it may come back");
    bed.attached(child, 1, vec![running(10)]).await;
    let upstream = bed.slot(10).await.unwrap().upstream.unwrap();
    assert_eq!(upstream.recorded, None);
}

#[tokio::test]
async fn what_is_adopted_takes_the_room_that_its_spec_says() {
    let bed = Bed::new();
    let child = bed.child(1).await;
    let (_, body) = spec::encode(&ServiceSpec {
        name: "web".to_owned(),
        runtime: "process".to_owned(),
        command: vec!["/bin/web".to_owned()],
        resources: Some(ResourceSpec {
            cpu: "100m".to_owned(),
            memory: String::new(),
        }),
        ..Default::default()
    });
    bed.order(child, 10, 1, Desired::Run).await;
    bed.write([
        Write::DeleteAssignment(asg(10)),
        Write::PutSpec(SpecHash([1; 32]), body),
    ])
    .await;
    bed.attached(child, 1, vec![running(10)]).await;
    bed.plan().await;
    let row = bed.row(10).await.unwrap();
    assert_eq!((row.desired, row.demand.cpu_millis), (Desired::Run, 100));
}
