//! Leases and fences: a commit is made by who holds the lease, or not at all.

use std::sync::Arc;

use edgeio_domain::time::Time;
use edgeio_store::{Fence, Lease, SlotFilter, Store, StoreError, Write};
use uuid::Uuid;

use crate::{bed::Bed, make};

const NAME: &str = "engine";

/// Takes the lease if it is free or over, as a tier does; answers it when it was taken.
async fn take(store: &dyn Store, holder: u128) -> Option<Lease> {
    let mut tx = store.write().await.unwrap();
    let now = tx.now().await.unwrap();
    let before = tx.lease(NAME).await.unwrap();
    if before.as_ref().is_some_and(|lease| now < lease.expires_at) {
        return None;
    }
    let lease = Lease {
        name: NAME.to_owned(),
        holder: Uuid::from_u128(holder),
        epoch: before.map_or(1, |lease| lease.epoch + 1),
        expires_at: Time(now.0 + 15_000),
    };
    tx.stage(Write::PutLease(lease.clone()));
    tx.commit().await.unwrap();
    Some(lease)
}

async fn put_by(bed: &Bed, fence: Fence, n: u64) -> Result<u64, StoreError> {
    bed.try_put_by(Some(fence), [Write::PutSlot(make::slot(n, n))])
        .await
}

fn is_fenced(answer: &Result<u64, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Fenced { .. }))
}

pub(crate) async fn leases_come_back_and_go_and_take_no_revision(bed: Bed) {
    let watch = bed.store.watch();
    let leases: Vec<Lease> = (0..8).map(|n| make::lease(n, u64::MAX - n, n)).collect();
    let revision = bed.put(leases.iter().cloned().map(Write::PutLease)).await;
    assert_eq!(revision, 0, "leases alone take none");
    assert!(!watch.has_changed().unwrap(), "and wake nobody");
    assert_eq!(bed.read().await.leases().await.unwrap(), leases);
    let third = bed.read().await.lease(&leases[3].name).await.unwrap();
    assert_eq!(third.as_ref(), Some(&leases[3]));
    assert_eq!(bed.read().await.lease("another").await.unwrap(), None);

    bed.put([
        Write::DeleteLease(leases[3].name.clone()),
        Write::DeleteLease("another".to_owned()),
    ])
    .await;
    assert_eq!(bed.read().await.leases().await.unwrap().len(), 7);
    let both = [
        Write::PutLease(leases[3].clone()),
        Write::PutSlot(make::slot(1, 1)),
    ];
    assert_eq!(bed.put(both).await, 1);
    assert_eq!(bed.read().await.leases().await.unwrap().len(), 8);
}

pub(crate) async fn a_commit_is_made_only_by_who_holds_the_lease(bed: Bed) {
    let held = Lease {
        epoch: 4,
        ..make::lease(1, 4, 1)
    };
    assert!(is_fenced(&put_by(&bed, held.fence(), 1).await), "no lease");
    bed.put([Write::PutLease(held.clone())]).await;
    assert_eq!(put_by(&bed, held.fence(), 1).await.unwrap(), 1);
    assert_eq!(bed.read().await.meta().await.unwrap().leader_epoch, 4);
    for wrong in [
        Fence {
            epoch: 3,
            ..held.fence()
        },
        Fence {
            epoch: 5,
            ..held.fence()
        },
        Fence {
            holder: Uuid::from_u128(99),
            ..held.fence()
        },
        Fence {
            name: "another".to_owned(),
            ..held.fence()
        },
    ] {
        let answer = put_by(&bed, wrong, 2).await;
        assert!(is_fenced(&answer), "{answer:?}");
        // Also a lease is not written so.
        let next = Write::PutLease(make::lease(2, 9, 1));
        let answer = bed
            .try_put_by(Some(make::lease(7, 7, 7).fence()), [next])
            .await;
        assert!(is_fenced(&answer), "{answer:?}");
    }
    assert_eq!(bed.slots(SlotFilter::default()).await.len(), 1);
    assert_eq!(bed.read().await.leases().await.unwrap(), [held]);
    let meta = bed.read().await.meta().await.unwrap();
    assert_eq!((meta.revision, meta.leader_epoch), (1, 4));
    // Who writes without a lease leaves the number as it is.
    bed.put([Write::PutMeta(make::meta(3))]).await;
    assert_eq!(bed.read().await.meta().await.unwrap().leader_epoch, 4);
}

/// What was true when the writer looked does not count.
pub(crate) async fn a_fence_is_compared_when_the_commit_is_made(bed: Bed) {
    let first = take(&*bed.store, 1).await.unwrap();
    let seen = bed.read().await.lease(NAME).await.unwrap();
    assert_eq!(seen, Some(first.clone()));
    bed.clock.set(60_000);
    let second = take(&*bed.store, 2).await.unwrap();
    assert!(is_fenced(&put_by(&bed, first.fence(), 1).await));
    // Taking it by the same commit that is fenced by the one before is allowed: the holder gives it away.
    let mut given = second.clone();
    given.epoch += 1;
    let writes = [
        Write::PutLease(given.clone()),
        Write::PutSlot(make::slot(2, 2)),
    ];
    bed.try_put_by(Some(second.fence()), writes).await.unwrap();
    assert!(is_fenced(&put_by(&bed, second.fence(), 3).await));
    put_by(&bed, given.fence(), 3).await.unwrap();
}

pub(crate) async fn of_many_that_take_a_lease_each_epoch_has_one(bed: Bed) {
    let mut taken = Vec::new();
    for round in 0..10 {
        bed.clock.set(round * 15_000);
        let takers = (0..8_u128).map(|holder| {
            let store = Arc::clone(&bed.store);
            tokio::spawn(async move { take(&*store, holder).await })
        });
        let takers: Vec<_> = takers.collect();
        let mut winners = Vec::new();
        for taker in takers {
            winners.extend(taker.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        taken.append(&mut winners);
    }
    let epochs: Vec<u64> = taken.iter().map(|lease| lease.epoch).collect();
    assert_eq!(epochs, (1..=10).collect::<Vec<u64>>());
    let (last, others) = taken.split_last().unwrap();
    for lost in others {
        assert!(is_fenced(&put_by(&bed, lost.fence(), 1).await), "{lost:?}");
    }
    put_by(&bed, last.fence(), 1).await.unwrap();
}

pub(crate) async fn an_expired_lease_is_taken_and_its_holder_is_refused(bed: Bed) {
    let first = take(&*bed.store, 1).await.unwrap();
    bed.clock.set(14_999);
    assert_eq!(take(&*bed.store, 2).await, None);
    put_by(&bed, first.fence(), 1).await.unwrap();
    bed.clock.set(15_000);
    // Over, but nobody took it: what its holder writes is still alone.
    put_by(&bed, first.fence(), 2).await.unwrap();
    let second = take(&*bed.store, 2).await.unwrap();
    assert_eq!(second.epoch, 2);
    assert!(is_fenced(&put_by(&bed, first.fence(), 3).await));
    put_by(&bed, second.fence(), 3).await.unwrap();
    assert_eq!(bed.read().await.meta().await.unwrap().leader_epoch, 2);
}

pub(crate) async fn the_number_rises_also_for_the_holder_itself(bed: Bed) {
    let mut last = 0;
    for (round, holder) in [1, 1, 2, 1, 2, 2].into_iter().enumerate() {
        bed.clock.set(i64::try_from(round).unwrap() * 15_000);
        let lease = take(&*bed.store, holder).await.unwrap();
        assert!(lease.epoch > last, "{lease:?} after {last}");
        last = lease.epoch;
        put_by(&bed, lease.fence(), 1).await.unwrap();
        let before = Fence {
            epoch: last - 1,
            ..lease.fence()
        };
        assert!(is_fenced(&put_by(&bed, before, 2).await));
    }
}

pub(crate) async fn leases_are_there_after_opening_again(bed: Bed) {
    let lease = take(&*bed.store, 1).await.unwrap();
    put_by(&bed, lease.fence(), 1).await.unwrap();
    let bed = bed.reopen().await;
    assert!(bed.store.is_exclusive());
    assert_eq!(bed.read().await.lease(NAME).await.unwrap(), Some(lease));
    assert_eq!(bed.read().await.meta().await.unwrap().leader_epoch, 1);
}
