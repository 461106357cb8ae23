//! What Compact removes and what it leaves.

use edgeio_domain::{child::ChildState, records::Service, time::Time};
use edgeio_store::{StoreError, Write};
use uuid::Uuid;

use crate::{bed::Bed, make};

pub(crate) async fn old_events_answers_tombstones_and_changes_go(bed: Bed) {
    let (old, young) = (Uuid::from_u128(1), Uuid::from_u128(2));
    bed.clock.set(9);
    bed.put([Write::PutSlot(make::slot(1, 1))]).await;
    bed.clock.set(10);
    bed.put([Write::PutSlot(make::slot(2, 2))]).await;
    bed.put([
        // In this commit too it works after everything else.
        Write::Compact(Time(10)),
        Write::PutEvent(make::event(9, 1)),
        Write::PutEvent(make::event(10, 2)),
        Write::PutRequest(make::request(1, 9, 1)),
        Write::PutRequest(make::request(2, 10, 2)),
        Write::PutTombstone(old, Time(9)),
        Write::PutTombstone(young, Time(10)),
        Write::PutSlot(make::slot(3, 3)),
        Write::Compact(Time(3)),
    ])
    .await;
    let read = bed.read().await;
    assert_eq!(read.events(9).await.unwrap(), [make::event(10, 2)]);
    assert_eq!(read.request("request 1").await.unwrap(), None);
    assert!(read.request("request 2").await.unwrap().is_some());
    assert_eq!(read.tombstones(&[old, young]).await.unwrap(), [young]);
    let changes = read.changes(1, 10).await.unwrap();
    let revisions: Vec<_> = changes.iter().map(|change| change.revision).collect();
    assert_eq!(revisions, [2, 3]);
    drop(read);

    let bed = bed.reopen().await;
    let refused = bed.read().await.changes(0, 10).await;
    assert!(
        matches!(refused, Err(StoreError::Compacted { .. })),
        "{refused:?}"
    );
}

pub(crate) async fn tombstones_wait_for_a_child_that_is_not_heard(bed: Bed) {
    let id = |n: u128| Uuid::from_u128(n);
    let mut child = make::child(1, 1);
    child.state = ChildState::Disconnected;
    bed.put([
        Write::PutChild(child.clone()),
        Write::Bury {
            id: id(1),
            at: Time(1),
            child: child.id,
        },
        Write::Bury {
            id: id(2),
            at: Time(1),
            child: make::child_id(2),
        },
        Write::PutTombstone(id(3), Time(1)),
    ])
    .await;
    let all = [id(1), id(2), id(3)];
    bed.put([Write::Compact(Time(10))]).await;
    let left = bed.read().await.tombstones(&all).await.unwrap();
    assert_eq!(left, [id(1)], "its child may come back and still run it");
    child.state = ChildState::Ready;
    bed.put([Write::PutChild(child), Write::Compact(Time(10))])
        .await;
    let left = bed.read().await.tombstones(&all).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

pub(crate) async fn specs_go_when_nothing_uses_them(bed: Bed) {
    let specs: Vec<_> = (0..4).map(make::spec).collect();
    let mut application = make::application(1, 1);
    application.services = vec![Service {
        name: make::name("api"),
        replicas: 1,
        spec_hash: specs[0].0,
    }];
    let mut slot = make::slot(1, 1);
    slot.spec_hash = specs[1].0;
    let mut assignment = make::assignment(1, 1);
    assignment.spec_hash = specs[2].0;
    bed.put(
        specs
            .iter()
            .map(|(hash, body)| Write::PutSpec(*hash, body.clone())),
    )
    .await;
    bed.put([
        Write::PutApplication(application),
        Write::PutSlot(slot),
        Write::PutAssignment {
            assignment,
            ordered: true,
        },
        Write::Compact(Time(0)),
    ])
    .await;
    let hashes: Vec<_> = specs.iter().map(|(hash, _)| *hash).collect();
    let left = async || {
        let found = bed.read().await.specs(&hashes).await.unwrap();
        let position = |hash| hashes.iter().position(|of| *of == hash).unwrap();
        let mut left: Vec<usize> = found.into_iter().map(|(hash, _)| position(hash)).collect();
        left.sort_unstable();
        left
    };
    assert_eq!(left().await, [0, 1, 2]);
    bed.put([
        Write::DeleteApplication(make::app_uid(1)),
        Write::DeleteSlot(make::slot_id(1)),
        Write::Compact(Time(0)),
    ])
    .await;
    assert_eq!(left().await, [2]);
    bed.put([Write::DeleteAssignment(make::assignment_id(1))])
        .await;
    assert_eq!(left().await, [2]);
    bed.put([Write::Compact(Time(0))]).await;
    assert_eq!(left().await, [0; 0]);
}

pub(crate) async fn older_revisions_are_refused_after_compaction(bed: Bed) {
    for n in 1..=5 {
        bed.clock.set(n);
        bed.put([Write::PutSlot(make::slot(1, n.unsigned_abs()))])
            .await;
    }
    bed.put([Write::Compact(Time(4))]).await;
    let read = bed.read().await;
    let refused = read.changes(2, 10).await.unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::Compacted {
                since: 2,
                oldest: 3
            }
        ),
        "{refused:?}"
    );
    let kept = read.changes(3, 10).await.unwrap();
    assert_eq!(kept.first().map(|change| change.revision), Some(4));
    drop(read);
    // A second one with nothing to remove leaves the mark where it is.
    bed.put([Write::Compact(Time(4))]).await;
    assert_eq!(bed.read().await.changes(3, 10).await.unwrap(), kept);
}

pub(crate) async fn a_clock_that_jumps_leaves_no_hole(bed: Bed) {
    for (n, at) in [(1, 10), (2, 50), (3, 20), (4, 60)] {
        bed.clock.set(at);
        bed.put([Write::PutSlot(make::slot(n, n))]).await;
    }
    bed.put([Write::Compact(Time(30))]).await;
    let read = bed.read().await;
    let refused = read.changes(2, 10).await;
    assert!(
        matches!(refused, Err(StoreError::Compacted { oldest: 3, .. })),
        "{refused:?}"
    );
    let kept = read.changes(3, 10).await.unwrap();
    let revisions: Vec<_> = kept.iter().map(|change| change.revision).collect();
    assert_eq!(revisions, [4]);
}
