//! A ledger in memory, for tests and simulations: clones share the state, so that it outlives a node as a disk does.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{Batch, Ledger, LedgerError, Snapshot};

#[derive(Debug, Default)]
struct Shared {
    durable: Mutex<Snapshot>,
    /// So many of the next writes fail.
    faults: AtomicU64,
    writes: AtomicU64,
    /// The next write is the last one of its process; whether it is durable.
    killing: Mutex<Option<bool>>,
    /// The process that wrote is dead and does not know it yet.
    killed: AtomicBool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct MemoryLedger(Arc<Shared>);

impl MemoryLedger {
    /// The next `times` writes fail.
    pub fn fail(&self, times: u64) {
        self.0.faults.store(times, Ordering::SeqCst);
    }

    /// Whether the next write fails.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.0.faults.load(Ordering::SeqCst) > 0
    }

    /// The next write is the last thing that its process does: it is durable or it is not, and nobody learns which. Whoever
    /// drives the node must ask [`MemoryLedger::was_killed`] after each call and drop it.
    pub fn kill(&self, durable: bool) {
        *self
            .0
            .killing
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(durable);
    }

    /// Whether the process died at a write since this was asked last.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.0.killed.swap(false, Ordering::SeqCst)
    }

    /// How many writes succeeded.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::SeqCst)
    }

    /// What would survive a crash now.
    #[must_use]
    pub fn durable(&self) -> Snapshot {
        self.0
            .durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Another ledger with the same content that shares nothing with this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Shared {
            durable: Mutex::new(self.durable()),
            ..Shared::default()
        }))
    }
}

impl Ledger for MemoryLedger {
    fn load(&mut self) -> Result<Snapshot, LedgerError> {
        Ok(self.durable())
    }

    fn write(&mut self, batch: Batch) -> Result<(), LedgerError> {
        let faults = &self.0.faults;
        let less = |left: u64| left.checked_sub(1);
        if faults
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
        {
            return Err(LedgerError::Injected);
        }
        let killing = self
            .0
            .killing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.0.killed.fetch_or(killing.is_some(), Ordering::SeqCst);
        if killing == Some(false) {
            return Err(LedgerError::Injected);
        }
        self.0
            .durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(batch);
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        if killing.is_some() {
            return Err(LedgerError::Injected);
        }
        Ok(())
    }
}
