//! Faults at commits, for the simulator: a process that dies just before, or just after, its commit became durable.

use std::sync::PoisonError;

use super::MemoryStore;
use crate::api::{Revision, StoreError};

/// Where a commit breaks off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitFault {
    /// Nothing was written.
    Before,
    /// Everything was written, but the writer does not learn of it and nobody is woken.
    After,
    /// Nothing was written: there is no room.
    Full,
}

/// Asked at each commit, with the revision that it would have; `None` lets it be.
pub type FaultHook = Box<dyn FnMut(Revision) -> Option<CommitFault> + Send>;

impl MemoryStore {
    /// Has this asked at each commit from now on; `None` ends it.
    pub fn on_commit(&self, hook: Option<FaultHook>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = hook;
    }

    /// Looks at the database as a poll does: whoever waits for changes learns of a commit that nobody was woken for.
    pub fn poll(&self) {
        let revision = self.snapshot().revision();
        self.revision.send_replace(revision);
    }

    pub(super) fn next_fault(&self, revision: Revision) -> Option<CommitFault> {
        let mut hook = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        hook.as_mut().and_then(|hook| hook(revision))
    }
}

/// What the writer is told.
pub(super) fn injected(fault: CommitFault) -> StoreError {
    let (attempt, source) = ("commit", "a fault of the simulation".into());
    match fault {
        CommitFault::Before | CommitFault::After => StoreError::Unavailable { attempt, source },
        CommitFault::Full => StoreError::Full { attempt, source },
    }
}
