//! The directory of one native instance: the contract between the driver and the shim.
//!
//! | file | writer | what |
//! |---|---|---|
//! | `job.json` | driver | what to run; never changes but for `restart` |
//! | `lock` | shim | held (flock) as long as the shim lives: no process id can be mistaken for it |
//! | `control` | shim | FIFO that takes `stop <milliseconds>`, and `lease <milliseconds since the boot>` |
//! | `run.json` | shim | the current run; replaced at every start |
//! | `exit.json` | shim | how run `run` ended; valid while no later run exists |
//! | `output.log`, `output.log.1` | shim | output, see [`super::output`] |
//! | `view/` | shim | the place where it builds the job's view; empty for all others |
//! | `work/` | job | where it starts unless told otherwise |
//!
//! Records are replaced by rename. `exit.json` is also forced to the disk: a job that completed must not run again after
//! a power cut. The others describe processes, which a power cut ends anyway.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::runtime::{Exit, InstanceId, Labels, cgroup::Group};

/// What the shim runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Who owns it.
    pub labels: Labels,
    /// Its name, for people.
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// Its control groups, where the node has them for us.
    pub group: Option<Group>,
    /// How many bytes of output are kept in each of the two files.
    pub output_cap: u64,
    /// Of an exclusive job.
    #[serde(default)]
    pub lease: Option<Lease>,
    /// The signal that asks it to end; TERM where an earlier version wrote the record.
    #[serde(default)]
    pub stop_signal: Option<u8>,
    /// What it is held to; where an earlier version wrote the record, to nothing.
    #[serde(default)]
    pub confine: Option<super::confine::Confine>,
}

impl Job {
    /// What asks it to end.
    pub fn stop_signal(&self) -> Signal {
        let number = i32::from(self.stop_signal.unwrap_or(15));
        Signal::from_named_raw(number).unwrap_or_else(|| {
            #[expect(
                unsafe_code,
                reason = "real-time signals have no safe constructor here"
            )]
            // SAFETY: the spec allows 1 to 64 only; the signal is sent, never handled, so that it may be the C library's own.
            unsafe {
                Signal::from_raw_unchecked(number.clamp(1, 64))
            }
        })
    }
}

/// What a shim enforces by itself, whether or not an agent lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// When the job is ended unless a later time came through `control`: milliseconds of CLOCK_BOOTTIME.
    pub until_ms: u64,
    /// From TERM to KILL, in milliseconds.
    pub grace_ms: u64,
}

/// One run of the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// 1 for the first.
    pub run: u32,
    /// The shim.
    pub shim: i32,
    /// The job's main process, also its process group.
    pub pid: i32,
    /// When that process started, in the kernel's ticks since boot: with it a pid is one process for ever.
    pub start_ticks: u64,
    /// The boot this was in.
    pub boot_id: String,
    /// Wall clock of the start, nanoseconds since 1970.
    pub started_at_ns: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which run.
    pub run: u32,
    /// The exit code.
    pub code: Option<i32>,
    /// The signal.
    pub signal: Option<i32>,
    /// Whether the kernel killed for memory in this run.
    pub oom: bool,
    /// Whether the shim ended it since its lease was over. The job has not ended then: it waits to be started again.
    #[serde(default)]
    pub lease_over: bool,
    /// Wall clock of the end, nanoseconds since 1970.
    pub finished_at_ns: u64,
    /// Why nobody saw the end.
    pub lost: Option<String>,
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        Self {
            code: ended.code,
            signal: ended.signal,
            finished_at: from_ns(ended.finished_at_ns),
            oom: ended.oom,
            lost: ended.lost,
        }
    }
}

/// What a shim tells the driver about its start, one line on standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hello {
    /// The job runs; `run.json` says how.
    Started,
    /// Another shim holds this directory.
    Busy,
    /// It could not be started.
    Failed {
        /// Whether the same job would fail again.
        permanent: bool,
        /// Why.
        why: String,
    },
}

/// Nanoseconds since 1970; 0 for a clock that stands before.
pub fn to_ns(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The instant that [`to_ns`] wrote.
pub fn from_ns(ns: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)
}

/// The paths of one instance.
#[derive(Clone, Debug)]
pub struct Dir(pub PathBuf);

impl Dir {
    /// `view`
    pub fn view(&self) -> PathBuf {
        self.0.join("view")
    }

    /// `job.json`
    pub fn job(&self) -> PathBuf {
        self.0.join("job.json")
    }

    /// `lock`
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// `control`
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// `run.json`
    pub fn run(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// `exit.json`
    pub fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// `output.log`
    pub fn output(&self) -> PathBuf {
        self.0.join("output.log")
    }

    /// `work`
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Takes the lock unless somebody has it.
    ///
    /// # Errors
    /// The directory is gone or not ours.
    pub fn try_lock(&self) -> io::Result<Option<fs::File>> {
        let file = self.open_lock()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether nobody holds the lock. Two who ask at the same time do not see each other.
    ///
    /// # Errors
    /// The directory is gone or not ours.
    pub fn is_free(&self) -> io::Result<bool> {
        match self.open_lock()?.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn open_lock(&self) -> io::Result<fs::File> {
        let mut options = fs::OpenOptions::new();
        options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.lock())
    }
}

/// Reads a record; `None` where there is none.
///
/// # Errors
/// The file cannot be read or is not the record.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let parsed = serde_json::from_slice(&text);
    parsed
        .map(Some)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Whether a record must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// It must: file and directory are forced to the disk.
    Yes,
    /// A reader sees the old record or the new one, and a power cut may take either.
    No,
}

/// Replaces a record in one step.
///
/// # Errors
/// The directory is gone or the disk is full; the old record then stands.
pub fn write<T: Serialize>(path: &Path, record: &T, durable: Durable) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&tmp)?;
    file.write_all(&serde_json::to_vec(record).map_err(io::Error::other)?)?;
    if durable == Durable::Yes {
        file.sync_all()?;
    }
    fs::rename(&tmp, path)?;
    if durable == Durable::Yes
        && let Some(dir) = path.parent()
    {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Hints for whoever watches the events directory beside the instances: an empty file `<instance>.<what>`, written anew.
pub mod hint {
    use super::{InstanceId, Path, PathBuf, fs};

    /// What a hint says.
    pub const KINDS: [&str; 6] = ["started", "exited", "oom", "paused", "resumed", "removed"];

    /// The directory of hints that belongs to an instances directory.
    pub fn dir(instances: &Path) -> PathBuf {
        instances.with_file_name("events")
    }

    /// Leaves a hint. A hint that cannot be left is only a later look.
    pub fn leave(dir: &Path, instance: InstanceId, what: &str) {
        let _ = fs::write(dir.join(format!("{instance}.{what}")), "");
    }

    /// Takes all hints of an instance away.
    pub fn clear(dir: &Path, instance: InstanceId) {
        for what in KINDS {
            let _ = fs::remove_file(dir.join(format!("{instance}.{what}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_whole_and_a_broken_one_is_an_error() {
        let dir = Dir(tempfile::tempdir().unwrap().keep());
        assert_eq!(read::<Ended>(&dir.exit()).unwrap(), None);
        let (code, signal, lost) = (Some(3), None, None);
        let mut ended = Ended {
            run: 1,
            code,
            signal,
            oom: false,
            lease_over: false,
            finished_at_ns: 5,
            lost,
        };
        write(&dir.exit(), &ended, Durable::Yes).unwrap();
        ended.run = 2;
        write(&dir.exit(), &ended, Durable::No).unwrap();
        assert_eq!(read::<Ended>(&dir.exit()).unwrap(), Some(ended));
        fs::write(dir.exit(), "{").unwrap();
        assert_eq!(
            read::<Ended>(&dir.exit()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        fs::remove_dir_all(dir.0).unwrap();
    }

    #[test]
    fn the_lock_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Dir(dir.path().to_owned());
        let held = dir.try_lock().unwrap();
        assert!(held.is_some());
        assert!(dir.try_lock().unwrap().is_none());
        assert!(!dir.is_free().unwrap());
        drop(held);
        assert!(dir.is_free().unwrap());
        assert!(dir.try_lock().unwrap().is_some());
    }
}
