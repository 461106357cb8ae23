//! A tier lost its database: what its children report is left alone until a user applies the application again.

use std::collections::BTreeSet;

use edgeio_domain::{
    child::ChildState,
    ids::AssignmentId,
    records::{Assignment, Desired},
};
use edgeio_store::{ApplicationFilter, SlotFilter, Store as _, Write};

use crate::support::{Bed, manifest, service, web};

fn ids(assignments: &[Assignment]) -> BTreeSet<AssignmentId> {
    assignments.iter().map(|a| a.id).collect()
}

fn found(assignments: &[Assignment]) -> Vec<Write> {
    let held = assignments
        .iter()
        .cloned()
        .map(|assignment| Write::PutAssignment {
            assignment: Assignment {
                desired: Desired::Hold,
                ..assignment
            },
            ordered: false,
        });
    held.collect()
}

/// Three replicas that run, of which nothing but the reports is left. Answers the assignments.
async fn lost(bed: &Bed) -> Vec<Assignment> {
    bed.applied(web(3)).await;
    bed.settle().await;
    let before = bed.assignments().await;
    assert_eq!(before.len(), 3);
    let tx = bed.store.read().await.unwrap();
    let applications = tx
        .applications(&ApplicationFilter::default())
        .await
        .unwrap();
    let slots = tx.slots(&SlotFilter::default()).await.unwrap();
    drop(tx);
    let mut writes: Vec<Write> = applications
        .iter()
        .map(|a| Write::DeleteApplication(a.uid))
        .collect();
    writes.extend(slots.iter().map(|s| Write::DeleteSlot(s.id)));
    writes.extend(before.iter().map(|a| Write::DeleteAssignment(a.id)));
    bed.write(writes).await;
    before
}

#[tokio::test]
async fn what_is_found_is_left_alone_until_its_application_is_applied() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    let before = lost(&bed).await;
    bed.write(found(&before)).await;
    bed.settle().await;
    bed.applied(manifest("other", vec![service("front", Some(1))]))
        .await;
    bed.settle().await;
    let held = bed.assignments().await;
    assert!(before.iter().all(|a| {
        held.iter()
            .any(|h| h.id == a.id && h.desired == Desired::Hold)
    }));

    bed.applied(web(3)).await;
    bed.settle().await;
    let after = bed.assignments().await;
    assert_eq!(after.len(), 4, "nothing was started beside what was found");
    assert!(ids(&before).is_subset(&ids(&after)));
    assert!(after.iter().all(|a| a.desired == Desired::Run));
    let status = bed.status("web").await;
    assert_eq!(status.services[0].running, 3);
    assert_eq!(bed.instances().await.len(), 4);
}

#[tokio::test]
async fn what_is_more_than_the_application_asks_for_is_retired() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    let before = lost(&bed).await;
    bed.write(found(&before)).await;
    bed.applied(web(2)).await;
    bed.settle().await;
    let after = bed.assignments().await;
    let lowest: BTreeSet<_> = before
        .iter()
        .filter(|a| a.ordinal < 2)
        .map(|a| a.id)
        .collect();
    assert_eq!(ids(&after), lowest);
}

#[tokio::test]
async fn what_an_old_copy_does_not_know_is_left_alone_until_a_user_decides() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    bed.applied(web(3)).await;
    bed.settle().await;
    let before = bed.assignments().await;
    // The copy is of a time when one replica was wished.
    let tx = bed.store.read().await.unwrap();
    let mut applications = tx
        .applications(&ApplicationFilter::default())
        .await
        .unwrap();
    let slots = tx.slots(&SlotFilter::default()).await.unwrap();
    drop(tx);
    let mut copy = applications.remove(0);
    copy.services[0].replicas = 1;
    let newer: Vec<Assignment> = before.iter().filter(|a| a.ordinal > 0).cloned().collect();
    let mut writes = vec![Write::PutApplication(copy)];
    let later = |slot: &&edgeio_domain::records::Slot| slot.ordinal > 0;
    writes.extend(slots.iter().filter(later).map(|s| Write::DeleteSlot(s.id)));
    writes.extend(newer.iter().map(|a| Write::DeleteAssignment(a.id)));
    bed.write(writes).await;
    bed.write(found(&newer)).await;
    bed.settle().await;
    let held = bed.assignments().await;
    assert_eq!(ids(&held), ids(&before), "nothing was stopped");
    let holds = held.iter().filter(|a| a.desired == Desired::Hold).count();
    assert_eq!(holds, 2);

    bed.applied(web(3)).await;
    bed.settle().await;
    let after = bed.assignments().await;
    assert_eq!(
        ids(&after),
        ids(&before),
        "what was found fills what is wished"
    );
    assert!(after.iter().all(|a| a.desired == Desired::Run));
}

#[tokio::test]
async fn an_application_that_waits_is_filled_by_what_is_found_later() {
    let bed = Bed::root();
    let child = bed.child("a", 8).await;
    let before = lost(&bed).await;
    bed.becomes(child, ChildState::Disconnected).await;
    bed.applied(web(3)).await;
    bed.plan().await;
    assert!(bed.assignments().await.is_empty(), "there is no place");
    bed.write(found(&before)).await;
    bed.becomes(child, ChildState::Ready).await;
    bed.settle().await;
    let after = bed.assignments().await;
    assert_eq!(ids(&after), ids(&before));
    assert_eq!(bed.instances().await.len(), 3);
}

#[tokio::test]
async fn a_replica_that_runs_elsewhere_by_now_stays_and_the_found_one_ends() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    let before = lost(&bed).await;
    bed.applied(web(3)).await;
    bed.settle().await;
    let now = bed.assignments().await;
    bed.write(found(&before)).await;
    bed.settle().await;
    assert_eq!(ids(&bed.assignments().await), ids(&now));
}

#[tokio::test]
async fn a_cluster_takes_nothing_of_the_roots_over() {
    let bed = Bed::cluster();
    bed.child("a1", 8).await;
    let before = lost(&bed).await;
    let theirs: Vec<Assignment> = before
        .into_iter()
        .map(|mut assignment| {
            assignment.app.owner = edgeio_domain::records::Owner::Root;
            assignment
        })
        .collect();
    bed.write(found(&theirs)).await;
    bed.applied(web(3)).await;
    bed.settle().await;
    let after = bed.assignments().await;
    assert_eq!(after.len(), 6);
    let held = after.iter().filter(|a| a.desired == Desired::Hold).count();
    assert_eq!(held, 3);
}
