//! What a case runs on: a store, a clock that moves when told, and a way to open the store again.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use edgeio_domain::{
    ids::Lineage,
    time::{Clock, Time},
};
use edgeio_store::{
    AssignmentFilter, Fence, MemoryStore, ReadTx, Revision, SlotFilter, SqliteStore, Store,
    StoreError, Write, memory::Snapshot,
};
use tempfile::TempDir;
use uuid::Uuid;

/// A clock that stands still until it is moved.
#[derive(Default)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn set(&self, at: i64) {
        self.0.store(at, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }

    fn boot(&self) -> Time {
        self.wall()
    }
}

enum Kind {
    Memory(Arc<MemoryStore>),
    Sqlite(TempDir),
}

/// A store under test.
pub(crate) struct Bed {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    kind: Kind,
}

impl Bed {
    pub(crate) fn memory() -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(Lineage(Uuid::from_u128(7)), clock.clone()));
        Self {
            store: store.clone(),
            clock,
            kind: Kind::Memory(store),
        }
    }

    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let store = SqliteStore::open(&file_in(&folder), clock.clone()).await;
        Self {
            store: Arc::new(store.unwrap()),
            clock,
            kind: Kind::Sqlite(folder),
        }
    }

    /// As a process that ends and is started again.
    pub(crate) async fn reopen(mut self) -> Self {
        self.store.close().await;
        let clock = self.clock.clone();
        match &mut self.kind {
            Kind::Memory(store) => {
                let committed: Snapshot = store.snapshot();
                *store = Arc::new(MemoryStore::from_snapshot(committed, clock));
                self.store = store.clone();
            }
            Kind::Sqlite(folder) => {
                let opened = SqliteStore::open(&file_in(folder), clock).await;
                self.store = Arc::new(opened.unwrap());
            }
        }
        self
    }

    pub(crate) async fn read(&self) -> Box<dyn ReadTx + '_> {
        self.store.read().await.unwrap()
    }

    /// Commits these writes.
    pub(crate) async fn put(&self, writes: impl IntoIterator<Item = Write>) -> Revision {
        self.try_put(writes).await.unwrap()
    }

    pub(crate) async fn try_put(
        &self,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<Revision, StoreError> {
        self.try_put_by(None, writes).await
    }

    /// Commits these writes if the lease is held.
    pub(crate) async fn try_put_by(
        &self,
        fence: Option<Fence>,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<Revision, StoreError> {
        let mut tx = self.store.write().await?;
        if let Some(fence) = fence {
            tx.fence(fence);
        }
        for write in writes {
            tx.stage(write);
        }
        tx.commit().await
    }

    pub(crate) async fn slots(&self, filter: SlotFilter) -> Vec<edgeio_domain::records::Slot> {
        self.read().await.slots(&filter).await.unwrap()
    }

    pub(crate) async fn assignments(
        &self,
        filter: AssignmentFilter,
    ) -> Vec<edgeio_domain::records::Assignment> {
        self.read().await.assignments(&filter).await.unwrap()
    }
}

fn file_in(folder: &TempDir) -> PathBuf {
    folder.path().join("data").join("tier.db")
}
