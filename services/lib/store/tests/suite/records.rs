//! Every record comes back as it was written, with the commit's revision, and goes when it is removed.

use edgeio_domain::{
    ids::SpecHash,
    records::{Application, Owner},
    time::Time,
};
use edgeio_store::{ApplicationFilter, AssignmentFilter, Meta, SlotFilter, StoreError, Write};
use uuid::Uuid;

use crate::{bed::Bed, make};

/// Enough for every value of every enumeration and both sides of every option to come up.
const SEEDS: std::ops::Range<u64> = 0..40;

/// One application has one key.
fn application(n: u64, seed: u64) -> Application {
    let mut application = make::application(n, seed);
    application.key.name = make::name(&format!("app-{n}"));
    application
}

pub(crate) async fn applications_come_back_whole(bed: Bed) {
    for seed in SEEDS {
        let mut written = application(seed % 4, seed);
        written.revision = bed.put([Write::PutApplication(written.clone())]).await;
        let read = bed.read().await;
        assert_eq!(read.application(written.uid).await.unwrap(), Some(written));
    }
    let all = bed.read().await;
    let all = all.applications(&ApplicationFilter::default()).await;
    assert_eq!(all.unwrap().len(), 4);
    for n in 0..4 {
        bed.put([Write::DeleteApplication(make::app_uid(n))]).await;
        let gone = bed.read().await.application(make::app_uid(n)).await;
        assert_eq!(gone.unwrap(), None);
    }
}

pub(crate) async fn specs_are_kept_once(bed: Bed) {
    let (first, second) = (make::spec(1), make::spec(2));
    bed.put([Write::PutSpec(first.0, first.1.clone())]).await;
    bed.put([
        Write::PutSpec(first.0, b"other bytes under that hash".to_vec()),
        Write::PutSpec(second.0, second.1.clone()),
        Write::PutSpec(second.0, b"others again".to_vec()),
    ])
    .await;
    let unknown = SpecHash::of(b"unknown");
    let read = bed.read().await;
    let found = read.specs(&[second.0, unknown, first.0, second.0]).await;
    let mut expected = vec![first, second];
    expected.sort();
    assert_eq!(found.unwrap(), expected);
}

pub(crate) async fn slots_come_back_whole(bed: Bed) {
    for seed in SEEDS {
        let mut written = make::slot(seed % 4, seed);
        written.revision = bed.put([Write::PutSlot(written.clone())]).await;
        let only = SlotFilter {
            ids: Some(vec![written.id]),
            ..SlotFilter::default()
        };
        assert_eq!(bed.slots(only).await, [written]);
    }
    assert_eq!(bed.slots(SlotFilter::default()).await.len(), 4);
    bed.put((0..4).map(|n| Write::DeleteSlot(make::slot_id(n))))
        .await;
    assert_eq!(bed.slots(SlotFilter::default()).await, []);
}

pub(crate) async fn assignments_come_back_whole(bed: Bed) {
    for seed in SEEDS {
        let mut written = make::assignment(seed % 4, seed);
        let revision = bed
            .put([Write::PutAssignment {
                assignment: written.clone(),
                ordered: true,
            }])
            .await;
        written.revision = revision;
        written.order_revision = revision;
        let only = AssignmentFilter {
            ids: Some(vec![written.id]),
            ..AssignmentFilter::default()
        };
        assert_eq!(bed.assignments(only).await, [written]);
    }
    assert_eq!(bed.assignments(AssignmentFilter::default()).await.len(), 4);
    let all = (0..4).map(|n| Write::DeleteAssignment(make::assignment_id(n)));
    bed.put(all).await;
    assert_eq!(bed.assignments(AssignmentFilter::default()).await, []);
}

pub(crate) async fn children_come_back_whole(bed: Bed) {
    for seed in SEEDS {
        let n = seed % 4;
        let mut written = make::child(n, seed);
        // Names are unique; that is tested elsewhere.
        written.name = written.name.map(|_| make::name(&format!("worker-{n}")));
        written.revision = bed.put([Write::PutChild(written.clone())]).await;
        let read = bed.read().await;
        assert_eq!(read.child(written.id).await.unwrap(), Some(written));
    }
    let ids: Vec<_> = bed.read().await.children().await.unwrap();
    let ids: Vec<_> = ids.into_iter().map(|child| child.id).collect();
    assert_eq!(ids, (0..4).map(make::child_id).collect::<Vec<_>>());
    bed.put([Write::DeleteChild(make::child_id(1))]).await;
    let read = bed.read().await;
    assert_eq!(read.child(make::child_id(1)).await.unwrap(), None);
    assert_eq!(read.children().await.unwrap().len(), 3);
}

pub(crate) async fn facts_come_back_but_some_are_the_stores_own(bed: Bed) {
    let before = bed.read().await.meta().await.unwrap();
    assert_eq!(before.revision, 0);
    assert_eq!(before.uplink.accepted, None);
    assert_ne!(before.lineage.0, Uuid::nil());
    for seed in SEEDS {
        let written = make::meta(seed);
        let revision = bed.put([Write::PutMeta(written)]).await;
        let expected = Meta {
            lineage: before.lineage,
            revision,
            leader_epoch: before.leader_epoch,
            ..written
        };
        assert_eq!(bed.read().await.meta().await.unwrap(), expected);
    }
}

pub(crate) async fn tombstones_and_answers_come_back(bed: Bed) {
    let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
    let mut answer = make::request(1, 5, 1);
    bed.put([
        Write::PutTombstone(ids[2], Time(1)),
        Write::PutTombstone(ids[0], Time(2)),
        Write::PutRequest(answer.clone()),
    ])
    .await;
    let read = bed.read().await;
    let known = read.tombstones(&[ids[2], ids[1], ids[0], ids[2]]).await;
    assert_eq!(known.unwrap(), [ids[0], ids[2]]);
    let kept = read.request(&answer.request_id).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&answer));
    assert_eq!(read.request("another").await.unwrap(), None);
    drop(read);

    answer.response = b"another answer".to_vec();
    bed.put([
        Write::PutTombstone(ids[0], Time(3)),
        Write::PutRequest(answer.clone()),
    ])
    .await;
    let read = bed.read().await;
    let kept = read.request(&answer.request_id).await.unwrap();
    assert_eq!(kept, Some(answer));
}

pub(crate) async fn events_come_newest_first(bed: Bed) {
    // Their times are as the caller says; the order is that of recording.
    let events: Vec<_> = (0..6).map(|n| make::event(100 - n, n as u64)).collect();
    for pair in events.chunks(2) {
        bed.put(pair.iter().cloned().map(Write::PutEvent)).await;
    }
    let read = bed.read().await;
    let newest_first: Vec<_> = events.iter().rev().cloned().collect();
    assert_eq!(read.events(100).await.unwrap(), newest_first);
    assert_eq!(read.events(u64::MAX).await.unwrap(), newest_first);
    assert_eq!(read.events(3).await.unwrap(), newest_first[..3]);
    assert_eq!(read.events(0).await.unwrap(), []);
}

pub(crate) async fn removing_what_is_not_there_does_nothing(bed: Bed) {
    let revision = bed
        .put([
            Write::DeleteApplication(make::app_uid(1)),
            Write::DeleteSlot(make::slot_id(1)),
            Write::DeleteAssignment(make::assignment_id(1)),
            Write::DeleteChild(make::child_id(1)),
        ])
        .await;
    assert_eq!(revision, 1);
    assert_eq!(bed.read().await.changes(0, 10).await.unwrap(), []);
}

pub(crate) async fn names_are_unique_at_the_end_of_the_commit(bed: Bed) {
    let child = |n, name: Option<&str>| {
        let mut child = make::child(n, n);
        child.name = name.map(make::name);
        Write::PutChild(child)
    };
    bed.put([
        child(1, Some("a1")),
        child(2, Some("a2")),
        child(3, None),
        child(4, None),
    ])
    .await;
    let taken = bed.try_put([child(3, Some("a1"))]).await.unwrap_err();
    assert!(
        matches!(&taken, StoreError::Exists { what } if what.contains("a1")),
        "{taken:?}"
    );
    let twice = bed
        .try_put([child(3, Some("b")), child(4, Some("b"))])
        .await;
    assert!(matches!(twice, Err(StoreError::Exists { .. })), "{twice:?}");
    assert_eq!(bed.read().await.meta().await.unwrap().revision, 1);

    // Two change names; a third gets the name of one that goes, whatever comes first.
    bed.put([child(1, Some("a2")), child(2, Some("a1"))]).await;
    bed.put([child(3, Some("a2")), Write::DeleteChild(make::child_id(1))])
        .await;
    let names: Vec<_> = bed.read().await.children().await.unwrap();
    let names: Vec<_> = names
        .iter()
        .map(|child| child.name.as_ref().map(|n| n.as_str()))
        .collect();
    assert_eq!(names, [Some("a1"), Some("a2"), None]);

    let application = |n, namespace, owner| {
        let mut application = make::application(n, n);
        application.key.name = make::name("web");
        application.key.namespace = make::name(namespace);
        application.key.owner = owner;
        Write::PutApplication(application)
    };
    bed.put([
        application(1, "default", Owner::Root),
        application(2, "other", Owner::Root),
        application(3, "default", Owner::Cluster(make::child_id(1))),
    ])
    .await;
    let taken = bed.try_put([application(4, "default", Owner::Root)]).await;
    let taken = taken.unwrap_err();
    assert!(
        matches!(&taken, StoreError::Exists { what } if what.contains("default/web")),
        "{taken:?}"
    );
    // The name is free in the commit that removes the one that had it.
    bed.put([
        application(4, "default", Owner::Root),
        Write::DeleteApplication(make::app_uid(1)),
    ])
    .await;
    let read = bed.read().await;
    let found = read.application(make::app_uid(4)).await.unwrap();
    assert!(found.is_some());
}
