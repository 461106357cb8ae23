//! A store in memory: the model that the simulator and the tests of the tiers run on.
//!
//! It passes the same suite as the databases. It is deterministic: ordered maps, no timers, no tasks, and each future is
//! ready at once unless a write transaction is waited for. What is committed lives as long as the [`MemoryStore`], so a
//! simulated process that crashes is a store that stays while everything on top of it is dropped.

mod access;
#[cfg(feature = "sim")]
mod fault;
mod joins;
#[cfg(feature = "sim")]
mod look;
mod read;
mod state;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use edgeio_domain::{
    child::Child,
    ids::{AppUid, ChildId, Lineage, SpecHash},
    records::{Application, Assignment, Event, Slot},
    time::{Clock, Time},
};
use tokio::sync::{Mutex, MutexGuard, watch};
use uuid::Uuid;

use crate::{
    access::{Namespace, User, UserToken},
    api::{
        ApplicationFilter, AssignmentFilter, Change, Fence, Lease, Meta, ReadTx, RequestRecord,
        Revision, SlotFilter, Store, StoreError, Write, WriteTx,
    },
    audit::{AuditEntry, AuditFilter},
    batch::Batch,
    joins::{Bridge, JoinToken},
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
    exclusive: bool,
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
            exclusive: true,
            #[cfg(feature = "sim")]
            fault: std::sync::Mutex::new(None),
        }
    }

    /// Has it stand for a database that several processes have open: each of them holds this one store.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.exclusive = false;
        self
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
        Ok(Box::new(Tx {
            state: self.now(),
            clock: &*self.clock,
            write: (),
        }))
    }

    async fn write(&self) -> Result<Box<dyn WriteTx + '_>, StoreError> {
        // Trying first keeps the future ready when nobody writes: tokio's lock may yield for fairness' sake.
        let held = match self.turn.try_lock() {
            Ok(held) => held,
            Err(_) => self.turn.lock().await,
        };
        Ok(Box::new(Tx {
            state: self.now(),
            clock: &*self.clock,
            write: Turn {
                store: self,
                batch: Batch::default(),
                held,
            },
        }))
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    fn is_exclusive(&self) -> bool {
        self.exclusive
    }
}

/// A transaction: the state that it reads, and the write half if it has one.
struct Tx<'a, W> {
    state: Arc<State>,
    clock: &'a dyn Clock,
    write: W,
}

struct Turn<'a> {
    store: &'a MemoryStore,
    batch: Batch,
    held: MutexGuard<'a, ()>,
}

#[async_trait]
impl WriteTx for Tx<'_, Turn<'_>> {
    fn stage(&mut self, write: Write) {
        self.write.batch.stage(write);
    }

    fn is_empty(&self) -> bool {
        self.write.batch.is_empty()
    }

    fn fence(&mut self, fence: Fence) {
        self.write.batch.fence = Some(fence);
    }

    async fn commit(self: Box<Self>) -> Result<Revision, StoreError> {
        let Self { state, write, .. } = *self;
        let Turn { store, batch, held } = write;
        let revision = state.meta.revision;
        // Given up before applying, so that a commit without readers copies nothing.
        drop(state);
        if batch.is_empty() {
            return Ok(revision);
        }
        #[cfg(feature = "sim")]
        let fault = store.next_fault(revision + 1);
        #[cfg(feature = "sim")]
        if let Some(fault @ (CommitFault::Before | CommitFault::Full)) = fault {
            return Err(fault::injected(fault));
        }
        let revision = store.apply(batch)?;
        #[cfg(feature = "sim")]
        if let Some(fault @ CommitFault::After) = fault {
            return Err(fault::injected(fault));
        }
        if *store.revision.borrow() != revision {
            store.revision.send_replace(revision);
        }
        drop(held);
        Ok(revision)
    }
}

#[async_trait]
impl<W: Send + Sync> ReadTx for Tx<'_, W> {
    async fn meta(&self) -> Result<Meta, StoreError> {
        Ok(self.state.meta)
    }

    async fn now(&self) -> Result<Time, StoreError> {
        Ok(self.clock.wall())
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        Ok(self.state.leases.values().cloned().collect())
    }

    async fn lease(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        Ok(self.state.leases.get(name).cloned())
    }

    async fn applications(
        &self,
        filter: &ApplicationFilter,
    ) -> Result<Vec<Application>, StoreError> {
        Ok(self.state.applications(filter))
    }

    async fn application(&self, uid: AppUid) -> Result<Option<Application>, StoreError> {
        Ok(self.state.applications.get(&uid).cloned())
    }

    async fn specs(&self, hashes: &[SpecHash]) -> Result<Vec<(SpecHash, Vec<u8>)>, StoreError> {
        Ok(self.state.specs(hashes))
    }

    async fn slots(&self, filter: &SlotFilter) -> Result<Vec<Slot>, StoreError> {
        Ok(self.state.slots(filter))
    }

    async fn assignments(&self, filter: &AssignmentFilter) -> Result<Vec<Assignment>, StoreError> {
        Ok(self.state.assignments(filter))
    }

    async fn children(&self) -> Result<Vec<Child>, StoreError> {
        Ok(self.state.children.values().cloned().collect())
    }

    async fn child(&self, id: ChildId) -> Result<Option<Child>, StoreError> {
        Ok(self.state.children.get(&id).cloned())
    }

    async fn child_by_key(&self, public_key: &str) -> Result<Option<Child>, StoreError> {
        let mut children = self.state.children.values();
        let found = children.find(|child| child.public_key == public_key);
        Ok(found.filter(|_| !public_key.is_empty()).cloned())
    }

    async fn tombstones(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        Ok(self.state.tombstones(ids))
    }

    async fn request(&self, request_id: &str) -> Result<Option<RequestRecord>, StoreError> {
        Ok(self.state.requests.get(request_id).cloned())
    }

    async fn changes(&self, since: Revision, limit: u64) -> Result<Vec<Change>, StoreError> {
        self.state.changes(since, limit)
    }

    async fn events(&self, limit: u64) -> Result<Vec<Event>, StoreError> {
        Ok(self.state.events(limit))
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        Ok(self.state.access.users.values().cloned().collect())
    }

    async fn user(&self, id: Uuid) -> Result<Option<User>, StoreError> {
        Ok(self.state.access.users.get(&id).cloned())
    }

    async fn user_tokens(&self, user: Option<Uuid>) -> Result<Vec<UserToken>, StoreError> {
        Ok(self.state.access.tokens_of(user))
    }

    async fn user_token(&self, id: &str) -> Result<Option<UserToken>, StoreError> {
        Ok(self.state.access.user_tokens.get(id).cloned())
    }

    async fn namespaces(&self) -> Result<Vec<Namespace>, StoreError> {
        Ok(self.state.access.namespaces.values().cloned().collect())
    }

    async fn namespace(&self, name: &str) -> Result<Option<Namespace>, StoreError> {
        Ok(self.state.access.namespaces.get(name).cloned())
    }

    async fn join_tokens(&self) -> Result<Vec<JoinToken>, StoreError> {
        Ok(self.state.joins.tokens.values().cloned().collect())
    }

    async fn join_token(&self, id: &str) -> Result<Option<JoinToken>, StoreError> {
        Ok(self.state.joins.tokens.get(id).cloned())
    }

    async fn bridges(&self) -> Result<Vec<Bridge>, StoreError> {
        Ok(self.state.joins.bridges.values().cloned().collect())
    }

    async fn bridge_by_key(&self, public_key: &str) -> Result<Option<Bridge>, StoreError> {
        let mut bridges = self.state.joins.bridges.values();
        let found = bridges.find(|bridge| bridge.public_key == public_key);
        Ok(found.cloned())
    }

    async fn audit_entries(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(self.state.access.audit(filter))
    }
}
