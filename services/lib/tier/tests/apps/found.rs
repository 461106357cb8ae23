//! A tier lost its database: what its children report is left alone until a user applies the application again.

use std::collections::BTreeSet;

use edgeio_domain::{
    child::ChildState,
    ids::{AssignmentId, SlotId},
    records::{Assignment, Desired, Incarnation, Owner, Slot, Upstream},
    time::Time,
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
    let later = |slot: &&Slot| slot.ordinal > 0;
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
async fn a_replica_that_runs_elsewhere_by_now_stays_and_the_found_one_is_held() {
    let bed = Bed::root();
    bed.child("a", 8).await;
    let before = lost(&bed).await;
    bed.applied(web(3)).await;
    bed.settle().await;
    let now = ids(&bed.assignments().await);
    bed.write(found(&before)).await;
    for change in [web(3), web(2), web(3)] {
        bed.applied(change).await;
        bed.settle().await;
        let after = bed.assignments().await;
        let (holds, runs): (Vec<_>, Vec<_>) =
            after.into_iter().partition(|a| a.desired == Desired::Hold);
        assert!(
            ids(&before).is_superset(&ids(&holds)) && holds.len() >= 2,
            "{holds:?}"
        );
        let kept: BTreeSet<_> = ids(&runs).intersection(&now).copied().collect();
        assert!(kept.len() >= 2, "what fills a replica stays: {runs:?}");
    }
}

#[tokio::test]
async fn of_two_that_were_in_one_slot_one_stays() {
    let bed = Bed::root();
    let child = bed.child("a", 8).await;
    let mut before = lost(&bed).await;
    let substitute = Assignment {
        id: AssignmentId(uuid::Uuid::from_u128(u128::MAX)),
        child,
        ..before[0].clone()
    };
    before.push(substitute.clone());
    bed.write(found(&before)).await;
    bed.applied(web(3)).await;
    bed.settle().await;
    let after = bed.assignments().await;
    before.retain(|a| a.id != substitute.id);
    assert_eq!(ids(&after), ids(&before), "the original is kept");
}

/// What the root wants of a cluster: the replica of an assignment, under an id that the cluster has not seen.
fn wanted(like: &Assignment, recorded: Option<Incarnation>, hold_until: Time) -> Slot {
    Slot {
        id: SlotId(uuid::Uuid::from_u128(1 << 100 | u128::from(like.ordinal))),
        app: like.app.clone(),
        app_uid: like.app_uid,
        service: like.service.clone(),
        ordinal: like.ordinal,
        desired: Desired::Run,
        restart_count: 0,
        spec_hash: like.spec_hash,
        demand: like.demand,
        upstream: Some(Upstream {
            slot: SlotId(uuid::Uuid::from_u128(77)),
            generation: 1,
            recorded,
            hold_until,
            orphan: false,
            returned: Some("there was no room".to_owned()),
        }),
        refusals: Vec::new(),
        pending: Vec::new(),
        created_at: Time(0),
        revision: 0,
    }
}

/// Both databases are older copies: the root names the replica by an id of before, and the cluster knows what runs of it by
/// its number only (seed 10606 of the simulator's profile `database`).
#[tokio::test]
async fn a_slot_of_the_roots_is_filled_by_what_was_found_of_its_replica() {
    let bed = Bed::cluster();
    bed.child("a1", 8).await;
    let mut before = lost(&bed).await;
    for assignment in &mut before {
        assignment.app.owner = Owner::Root;
    }
    bed.write(found(&before)).await;
    let awaited = Incarnation {
        instance: AssignmentId::default(),
        worker: before[0].child,
        worker_name: "a1".to_owned(),
    };
    let slots = [
        wanted(&before[0], None, Time(0)),
        wanted(&before[1], Some(awaited.clone()), Time(i64::MAX)),
    ];
    bed.write(slots.iter().cloned().map(Write::PutSlot)).await;
    bed.settle().await;
    let after = bed.assignments().await;
    assert_eq!(ids(&after), ids(&before), "nothing was started or stopped");
    let of = |n: usize| after.iter().find(|a| a.id == before[n].id).unwrap();
    assert_eq!((of(0).desired, of(0).slot), (Desired::Run, slots[0].id));
    assert_eq!(of(1).desired, Desired::Hold, "another one is awaited");
    assert_eq!(of(2).desired, Desired::Hold, "the root asks for none");
    let tx = bed.store.read().await.unwrap();
    let recorded = tx.slots(&SlotFilter::default()).await.unwrap();
    drop(tx);
    let filled = recorded.into_iter().find(|slot| slot.id == slots[0].id);
    assert_eq!(filled.unwrap().upstream.unwrap().returned, None);

    let over = wanted(&before[1], Some(awaited), Time(0));
    bed.write([Write::PutSlot(over)]).await;
    bed.settle().await;
    let after = bed.assignments().await;
    assert_eq!(ids(&after), ids(&before), "nothing was started beside it");
    let running = after.iter().filter(|a| a.desired == Desired::Run).count();
    assert_eq!(running, 2);
}

#[tokio::test]
async fn a_cluster_takes_nothing_of_the_roots_over() {
    let bed = Bed::cluster();
    bed.child("a1", 8).await;
    let before = lost(&bed).await;
    let theirs: Vec<Assignment> = before
        .into_iter()
        .map(|mut assignment| {
            assignment.app.owner = Owner::Root;
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
