//! A store in memory: the model that the simulator and the tests of the tiers run on.
//!
//! It passes the same suite as the databases. It is deterministic: ordered maps, no timers, no tasks, and each future is
//! ready at once unless a write transaction is waited for. What is committed lives as long as the [`MemoryStore`], so a
//! simulated process that crashes is a store that stays while everything on top of it is dropped.

#[cfg(feature = "sim")]
mod fault;
mod read;
mod state;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use edgeio_domain::{
    child::Child,
    ids::{AppUid, ChildId, Lineage, SpecHash},
    records::{Application, Assignment, Event, Slot},
    time::Clock,
};
use tokio::sync::{Mutex, MutexGuard, watch};
use uuid::Uuid;

use crate::{
    api::{
        ApplicationFilter, AssignmentFilter, Change, Meta, ReadTx, RequestRecord, Revision,
        SlotFilter, Store, StoreError, Write, WriteTx,
    },
    batch::Batch,
};
use state::State;

#[cfg(feature = "sim")]
pub use fault::{CommitFault, FaultHook};

/// Everything that a [`MemoryStore`] had committed at one moment; cheap to take.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<State>);

impl Snapshot {
    /// The newest revision in it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.meta.revision
    }
}

/// The store in memory.
pub struct MemoryStore {
    /// What is committed. Readers take a reference and keep their state; a commit copies it only if somebody holds it.
    committed: RwLock<Arc<State>>,
    /// Held by the write transaction that is under way.
    turn: Mutex<()>,
    revision: watch::Sender<Revision>,
    clock: Arc<dyn Clock>,
    #[cfg(feature = "sim")]
    fault: std::sync::Mutex<Option<FaultHook>>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore")
            .field("revision", &*self.revision.borrow())
            .finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// A new, empty database. The clock stamps the log of changes, for [`Write::Compact`].
    #[must_use]
    pub fn new(lineage: Lineage, clock: Arc<dyn Clock>) -> Self {
        Self::from_snapshot(Snapshot(Arc::new(State::new(lineage))), clock)
    }

    /// A database that was restored from an older copy: it has its lineage and its numbers.
    #[must_use]
    pub fn from_snapshot(snapshot: Snapshot, clock: Arc<dyn Clock>) -> Self {
        Self {
            revision: watch::Sender::new(snapshot.revision()),
            committed: RwLock::new(snapshot.0),
            turn: Mutex::new(()),
            clock,
            #[cfg(feature = "sim")]
            fault: std::sync::Mutex::new(None),
        }
    }

    /// A copy of what is committed now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.now())
    }

    fn now(&self) -> Arc<State> {
        let committed = self
            .committed
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&committed)
    }

    /// Applies a batch, under the turn.
    fn apply(&self, batch: Batch) -> Result<Revision, StoreError> {
        let at = self.clock.wall();
        let mut committed = self
            .committed
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        committed.check(&batch)?;
        Ok(Arc::make_mut(&mut committed).apply(batch, at))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self) -> Result<Box<dyn ReadTx + '_>, StoreError> {
        Ok(Box::new(Read(self.now())))
    }

    async fn write(&self) -> Result<Box<dyn WriteTx + '_>, StoreError> {
        // Trying first keeps the future ready when nobody writes: tokio's lock may yield for fairness' sake.
        let turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) => self.turn.lock().await,
        };
        Ok(Box::new(WriteUnderWay {
            store: self,
            _turn: turn,
            base: self.now(),
            batch: Batch::default(),
        }))
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }
}

struct Read(Arc<State>);

struct WriteUnderWay<'a> {
    store: &'a MemoryStore,
    _turn: MutexGuard<'a, ()>,
    base: Arc<State>,
    batch: Batch,
}

#[async_trait]
impl WriteTx for WriteUnderWay<'_> {
    fn stage(&mut self, write: Write) {
        self.batch.stage(write);
    }

    fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    async fn commit(self: Box<Self>) -> Result<Revision, StoreError> {
        let Self {
            store,
            _turn,
            base,
            batch,
        } = *self;
        let revision = base.meta.revision;
        // Given up before applying, so that a commit without readers copies nothing.
        drop(base);
        if batch.is_empty() {
            return Ok(revision);
        }
        #[cfg(feature = "sim")]
        let fault = store.next_fault(revision + 1);
        #[cfg(feature = "sim")]
        if fault == Some(CommitFault::Before) {
            return Err(fault::injected());
        }
        let revision = store.apply(batch)?;
        #[cfg(feature = "sim")]
        if fault == Some(CommitFault::After) {
            return Err(fault::injected());
        }
        store.revision.send_replace(revision);
        Ok(revision)
    }
}

/// Both kinds of transaction read a state that does not change under them.
macro_rules! read_from_state {
    ($for:ty, $state:ident => $of:expr) => {
        #[async_trait]
        impl ReadTx for $for {
            async fn meta(&self) -> Result<Meta, StoreError> {
                let $state = self;
                Ok($of.meta)
            }

            async fn applications(
                &self,
                filter: &ApplicationFilter,
            ) -> Result<Vec<Application>, StoreError> {
                let $state = self;
                Ok($of.applications(filter))
            }

            async fn application(&self, uid: AppUid) -> Result<Option<Application>, StoreError> {
                let $state = self;
                Ok($of.applications.get(&uid).cloned())
            }

            async fn specs(
                &self,
                hashes: &[SpecHash],
            ) -> Result<Vec<(SpecHash, Vec<u8>)>, StoreError> {
                let $state = self;
                Ok($of.specs(hashes))
            }

            async fn slots(&self, filter: &SlotFilter) -> Result<Vec<Slot>, StoreError> {
                let $state = self;
                Ok($of.slots(filter))
            }

            async fn assignments(
                &self,
                filter: &AssignmentFilter,
            ) -> Result<Vec<Assignment>, StoreError> {
                let $state = self;
                Ok($of.assignments(filter))
            }

            async fn children(&self) -> Result<Vec<Child>, StoreError> {
                let $state = self;
                Ok($of.children.values().cloned().collect())
            }

            async fn child(&self, id: ChildId) -> Result<Option<Child>, StoreError> {
                let $state = self;
                Ok($of.children.get(&id).cloned())
            }

            async fn tombstones(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
                let $state = self;
                Ok($of.tombstones(ids))
            }

            async fn request(&self, request_id: &str) -> Result<Option<RequestRecord>, StoreError> {
                let $state = self;
                Ok($of.requests.get(request_id).cloned())
            }

            async fn changes(
                &self,
                since: Revision,
                limit: u64,
            ) -> Result<Vec<Change>, StoreError> {
                let $state = self;
                $of.changes(since, limit)
            }

            async fn events(&self, limit: u64) -> Result<Vec<Event>, StoreError> {
                let $state = self;
                Ok($of.events(limit))
            }
        }
    };
}

read_from_state!(Read, this => this.0);
read_from_state!(WriteUnderWay<'_>, this => this.base);
