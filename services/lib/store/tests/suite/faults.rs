//! The faults that the simulator plants at commits of the model, and the copies that it restores.

use std::sync::Arc;

use edgeio_domain::ids::Lineage;
use edgeio_store::{
    MemoryStore, SlotFilter, Store, StoreError, Write,
    memory::{CommitFault, Snapshot},
};
use uuid::Uuid;

use crate::{bed::ManualClock, make};

fn new() -> MemoryStore {
    let lineage = Lineage(Uuid::from_u128(1));
    MemoryStore::new(lineage, Arc::new(ManualClock::default()))
}

async fn put(store: &MemoryStore, n: u64) -> Result<u64, StoreError> {
    let mut tx = store.write().await?;
    tx.stage(Write::PutSlot(make::slot(n, n)));
    tx.commit().await
}

async fn slots(store: &MemoryStore) -> usize {
    let read = store.read().await.unwrap();
    read.slots(&SlotFilter::default()).await.unwrap().len()
}

#[tokio::test]
async fn a_commit_breaks_off_before_or_after_it_is_durable() {
    let store = new();
    let watch = store.watch();
    store.on_commit(Some(Box::new(|revision| match revision {
        2 => Some(CommitFault::Before),
        _ => None,
    })));
    assert_eq!(put(&store, 1).await.unwrap(), 1);
    let broken = put(&store, 2).await;
    assert!(
        matches!(broken, Err(StoreError::Unavailable { .. })),
        "{broken:?}"
    );
    assert_eq!(slots(&store).await, 1);

    store.on_commit(Some(Box::new(|_| Some(CommitFault::After))));
    let broken = put(&store, 2).await;
    assert!(
        matches!(broken, Err(StoreError::Unavailable { .. })),
        "{broken:?}"
    );
    assert_eq!(slots(&store).await, 2);
    // Nobody was woken for it: its process died.
    assert_eq!(*watch.borrow(), 1);

    store.on_commit(None);
    assert_eq!(put(&store, 3).await.unwrap(), 3);
    assert_eq!(*watch.borrow(), 3);
}

#[tokio::test]
async fn an_old_copy_has_its_lineage_and_its_numbers() {
    let store = new();
    put(&store, 1).await.unwrap();
    let copy: Snapshot = store.snapshot();
    put(&store, 2).await.unwrap();
    assert_eq!(copy.revision(), 1);

    let restored = MemoryStore::from_snapshot(copy, Arc::new(ManualClock::default()));
    assert_eq!(slots(&restored).await, 1);
    assert_eq!(slots(&store).await, 2);
    assert_eq!(*restored.watch().borrow(), 1);
    assert_eq!(put(&restored, 7).await.unwrap(), 2);
    let (old, new) = (store.read().await.unwrap(), restored.read().await.unwrap());
    let lineage = old.meta().await.unwrap().lineage;
    assert_eq!(new.meta().await.unwrap().lineage, lineage);
}
