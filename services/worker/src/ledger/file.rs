//! The ledger on disk: a journal of batches, one `fsync` each, rewritten when most of it is old.
//!
//! `kill -9`, a power cut and a torn write lose nothing that was confirmed. A write that fails is cut off again before
//! anything else is written. One process at a time holds it, by a lock that ends with the process.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tracing::{debug, warn};

use super::{
    Batch, Ledger, LedgerError, Snapshot, format,
    frame::{self, Found},
};

/// The journal's name in the data directory.
const JOURNAL: &str = "ledger";
/// What a rewrite is called until it is whole.
const REWRITE: &str = "ledger.new";
/// The file that is locked.
const LOCK: &str = "ledger.lock";
/// Half a second of tries: far longer than a fork takes, and short for who has started a second worker by mistake.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Below this size nothing is rewritten: a rewrite costs more wear than it saves.
const REWRITE_FROM: u64 = 256 * 1024;
/// Rewritten when it is so many times larger than what is alive in it: each byte is then written twice at most, roughly.
const REWRITE_RATIO: u64 = 4;

/// See the module.
#[derive(Debug)]
pub struct FileLedger {
    directory: PathBuf,
    journal: File,
    /// Its length up to the last confirmed batch.
    length: u64,
    /// Its length after the last rewrite.
    alive: u64,
    /// A failed write may have left something behind `length`.
    torn: bool,
    _lock: File,
}

impl FileLedger {
    /// Opens the ledger in a directory, which is made where it is missing, for this user only.
    ///
    /// # Errors
    /// The directory cannot be used, or another process holds it.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::Open {
            path: directory.to_owned(),
            source,
        };
        make_private(directory).map_err(failed)?;
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(directory.join(LOCK))
            .map_err(failed)?;
        hold(&lock).map_err(|errno| {
            if errno == Errno::WOULDBLOCK {
                LedgerError::Locked {
                    path: directory.to_owned(),
                }
            } else {
                failed(errno.into())
            }
        })?;
        let journal = private(
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true),
        )
        .open(directory.join(JOURNAL))
        .map_err(failed)?;
        sync_directory(directory).map_err(failed)?;
        Ok(Self {
            directory: directory.to_owned(),
            journal,
            length: 0,
            alive: 0,
            torn: false,
            _lock: lock,
        })
    }

    fn path(&self) -> PathBuf {
        self.directory.join(JOURNAL)
    }

    /// Reads the journal: its state and how long its good part is.
    fn read(&self) -> Result<(Snapshot, u64, bool), LedgerError> {
        let path = self.path();
        let bytes = std::fs::read(&path).map_err(|source| LedgerError::Read {
            path: path.clone(),
            source,
        })?;
        let (state, length) = replay(&bytes, &path)?;
        Ok((state, length as u64, length < bytes.len()))
    }

    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        if self.torn {
            self.journal.set_len(self.length)?;
            self.torn = false;
        }
        let mut bytes = Vec::new();
        frame::write(&format::encode(batch), &mut bytes);
        self.torn = true;
        self.journal.seek(SeekFrom::Start(self.length))?;
        self.journal.write_all(&bytes)?;
        self.journal.sync_data()?;
        self.torn = false;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Writes the journal anew without what is old. The old one stays until the new one is whole.
    fn rewrite(&mut self, state: Snapshot) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::write(&format::encode(&state.into_batch()), &mut bytes);
        let temporary = self.directory.join(REWRITE);
        let mut file = private(
            OpenOptions::new()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true),
        )
        .open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.path())?;
        // From here on the old journal has no name: nothing may be written to it, whether or not the next line succeeds.
        self.journal = file;
        self.length = bytes.len() as u64;
        self.alive = self.length;
        sync_directory(&self.directory)
    }
}

impl Ledger for FileLedger {
    fn load(&mut self) -> Result<Snapshot, LedgerError> {
        let (state, length, torn) = self.read()?;
        if torn {
            warn!(
                path = %self.path().display(), offset = length,
                "the last write of the ledger was interrupted and is dropped"
            );
        }
        self.length = length;
        self.torn = torn;
        if self.alive == 0 {
            self.alive = length;
        }
        Ok(state)
    }

    fn write(&mut self, batch: Batch) -> Result<(), LedgerError> {
        self.append(&batch).map_err(|source| LedgerError::Write {
            path: self.path(),
            source,
        })?;
        if self.length > REWRITE_FROM && self.length > self.alive.saturating_mul(REWRITE_RATIO) {
            // The batch is durable already: a rewrite that fails costs space and is tried again at the next write.
            let before = self.length;
            match self.read().map(|(state, ..)| self.rewrite(state)) {
                Ok(Ok(())) => debug!(before, after = self.length, "ledger rewritten"),
                Ok(Err(error)) => warn!(%error, "the ledger could not be rewritten"),
                Err(error) => warn!(%error, "the ledger could not be read for a rewrite"),
            }
        }
        Ok(())
    }
}

/// Takes the lock. A process that is just being forked off a worker that has died holds it for an instant more.
fn hold(lock: &File) -> Result<(), Errno> {
    let mut tries = 0;
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            other => return other,
        }
    }
}

/// The state that a journal leads to, and the length of its good part. `path` stands for it in errors.
///
/// # Errors
/// It is damaged, or another version's.
pub fn replay(bytes: &[u8], path: &Path) -> Result<(Snapshot, usize), LedgerError> {
    let (records, length) = match frame::read(bytes) {
        Found::Records(records, length) => (records, length),
        Found::Damaged(offset) => {
            return Err(LedgerError::Damaged {
                path: path.to_owned(),
                offset: offset as u64,
            });
        }
    };
    let mut state = Snapshot::default();
    for record in records {
        let batch = format::decode(record).map_err(|what| LedgerError::Version {
            path: path.to_owned(),
            what,
        })?;
        state.apply(batch);
    }
    Ok((state, length))
}

/// Only this user may read what runs here: environments hold secrets.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Makes a directory for this user only.
///
/// # Errors
/// It cannot be made or its mode cannot be set.
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))
}

/// A file's name is durable only once its directory is.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
