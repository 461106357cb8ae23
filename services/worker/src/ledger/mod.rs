//! The ledger: what a worker must know after a crash, a reboot or a week without a network.
//!
//! Durable are: the point up to which orders are accepted, every instance with its order and the part of its status that
//! steers what comes next, the bytes of the specs, the ids that were stopped for good, and how long leases hold. A [`Batch`] is written as a
//! whole or not at all, and [`Ledger::write`] returns only once it would survive a power cut. Nothing is written while
//! nothing changes: flash wears. Deliberately absent: meaning. The node decides what is written and when.

mod file;
mod format;
mod frame;
mod memory;
#[cfg(test)]
mod suite;

use std::{collections::BTreeMap, io, path::PathBuf};

use edgeio_domain::{
    child::Accepted,
    ids::{AssignmentId, SpecHash},
    node::Entry,
    time::Time,
};

pub(crate) use file::make_private;
pub use file::{FileLedger, replay};
pub use memory::MemoryLedger;

/// When leases were renewed last: what an agent that is started again may let run until it hears from its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The boot that the time is of.
    pub boot_id: String,
    /// On CLOCK_BOOTTIME.
    pub at: Time,
}

/// All that is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Orders are accepted up to here; `None` before the first.
    pub accepted: Option<Accepted>,
    /// What the worker holds.
    pub entries: BTreeMap<AssignmentId, Entry>,
    /// Bytes of the specs.
    pub specs: BTreeMap<SpecHash, Vec<u8>>,
    /// Ids that were stopped for good, with the wall time of it.
    pub tombstones: BTreeMap<AssignmentId, Time>,
    /// When leases were renewed, as far as it was noted.
    pub renewal: Option<Renewal>,
}

impl Snapshot {
    /// The state after `batch`.
    pub fn apply(&mut self, batch: Batch) {
        if batch.accepted.is_some() {
            self.accepted = batch.accepted;
        }
        if batch.renewal.is_some() {
            self.renewal = batch.renewal;
        }
        for entry in batch.put {
            self.entries.insert(entry.order.id, entry);
        }
        for id in &batch.remove {
            self.entries.remove(id);
        }
        self.specs.extend(batch.specs);
        for hash in &batch.drop_specs {
            self.specs.remove(hash);
        }
        self.tombstones.extend(batch.bury);
        for id in &batch.unbury {
            self.tombstones.remove(id);
        }
    }

    /// The state as one batch.
    #[must_use]
    pub fn into_batch(self) -> Batch {
        Batch {
            accepted: self.accepted,
            put: self.entries.into_values().collect(),
            specs: self.specs.into_iter().collect(),
            bury: self.tombstones.into_iter().collect(),
            renewal: self.renewal,
            ..Batch::default()
        }
    }
}

/// Changes that become durable together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The new point; `None` leaves it.
    pub accepted: Option<Accepted>,
    /// Entries as they are now.
    pub put: Vec<Entry>,
    /// Entries that are gone.
    pub remove: Vec<AssignmentId>,
    /// New specs.
    pub specs: Vec<(SpecHash, Vec<u8>)>,
    /// Specs that nothing names any more.
    pub drop_specs: Vec<SpecHash>,
    /// Ids that are stopped for good, with the wall time.
    pub bury: Vec<(AssignmentId, Time)>,
    /// Stopped ids that are old enough to be forgotten.
    pub unbury: Vec<AssignmentId>,
    /// Leases were renewed; `None` leaves what was noted.
    pub renewal: Option<Renewal>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Batch::default()
    }
}

/// A place for what must last.
pub trait Ledger: Send {
    /// Reads everything.
    ///
    /// # Errors
    /// What was written cannot be read. A last write that a crash tore is no error: it never happened.
    fn load(&mut self) -> Result<Snapshot, LedgerError>;

    /// Makes a batch durable.
    ///
    /// # Errors
    /// Nothing of the batch is durable, then or later.
    fn write(&mut self, batch: Batch) -> Result<(), LedgerError>;
}

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The directory or the file cannot be used.
    #[error("open the ledger in `{}`", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another worker uses it.
    #[error("the ledger in `{}` is in use by another worker process: give each worker a data directory of its own", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("read the ledger `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was damaged after it was written.
    #[error(
        "the ledger `{}` is damaged at byte {offset}: move it away and start again; the worker then registers anew under its old id, \
         running jobs are left alone, and the cluster sends its orders again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// It is of a later version.
    #[error("the ledger `{}` was written by another version of the worker: {what}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What is not understood.
        what: String,
    },
    /// It cannot be written: the disk is full or broken.
    #[error("write the ledger `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A fault that a test asked for.
    #[error("the ledger was told to fail")]
    Injected,
}
