//! What the driver keeps of an instance in files: its output, when its run began, and the files that are mounted into it.
//!
//! containerd knows neither when a task was started nor, after a reboot, that there ever was one.

use std::{
    fs, io,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The output of one instance is at most two files of this size: what a small node's disk bears for a hundred containers.
const OUTPUT_MAX: u64 = 5 << 20;

/// How long an output that does not grow is looked at, and how often at most. The shim has the bytes in a pipe: it needs one turn
/// of the processor to write them.
const SETTLE: Duration = Duration::from_millis(50);
const SETTLES: u32 = 40;
/// How often in a row it must be found unchanged. Each stream is written by a thread of its own: on a busy machine the second may
/// have its turn long after the first.
const QUIET: u32 = 4;

/// A run of an instance, and its end where nobody but us can tell it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// When it began, in nanoseconds of the Unix epoch.
    started_at_ns: u64,
    /// When its task was found missing, in nanoseconds of the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost_at_ns: Option<u64>,
    /// The signal that asks it to end.
    pub(super) stop_signal: u32,
}

fn to_ns(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn from_ns(ns: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)
}

impl Run {
    pub(super) fn begins(now: SystemTime, stop_signal: u32) -> Self {
        Self {
            started_at_ns: to_ns(now),
            lost_at_ns: None,
            stop_signal,
        }
    }

    pub(super) fn started_at(&self) -> SystemTime {
        from_ns(self.started_at_ns)
    }
}

/// The directory of one instance.
#[derive(Clone, Debug)]
pub(super) struct Home(pub(super) PathBuf);

impl Home {
    pub(super) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.0)
    }

    /// The file that the shim appends both streams to.
    pub(super) fn output(&self) -> PathBuf {
        self.0.join("output.log")
    }

    fn run_file(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// What the network made for the instance.
    pub(super) fn network_file(&self) -> PathBuf {
        self.0.join("network.json")
    }

    pub(super) fn run(&self) -> io::Result<Option<Run>> {
        read(&self.run_file())
    }

    /// Notes the run before it begins.
    pub(super) fn begin(&self, run: &Run) -> io::Result<()> {
        write(&self.run_file(), run)
    }

    /// A start that failed was no run.
    pub(super) fn unbegin(&self) -> io::Result<()> {
        absent(fs::remove_file(self.run_file()))
    }

    /// When the run was found lost; the first look says when, later ones the same.
    pub(super) fn lost_at(&self, mut run: Run, now: SystemTime) -> io::Result<SystemTime> {
        if let Some(ns) = run.lost_at_ns {
            return Ok(from_ns(ns));
        }
        run.lost_at_ns = Some(to_ns(now));
        write(&self.run_file(), &run)?;
        Ok(now)
    }

    /// Waits until the output of a job that ended grows no more: the shim tells the end before it has written all that was said.
    pub(super) async fn settled(&self) {
        let size = || fs::metadata(self.output()).map_or(0, |found| found.len());
        let (mut before, mut quiet) = (size(), 0);
        for _ in 0..SETTLES {
            tokio::time::sleep(SETTLE).await;
            let now = size();
            quiet = if now == before { quiet + 1 } else { 0 };
            if quiet == QUIET {
                return;
            }
            before = now;
        }
    }

    /// The last bytes of the output.
    pub(super) fn tail(&self, max_bytes: usize) -> io::Result<Vec<u8>> {
        let mut kept = last(&self.output(), max_bytes)?;
        if kept.len() < max_bytes {
            let mut older = last(
                &self.output().with_extension("log.1"),
                max_bytes - kept.len(),
            )?;
            older.append(&mut kept);
            kept = older;
        }
        Ok(kept)
    }

    /// Keeps the output small: the shim holds the file open and appends, so it is copied aside and cut.
    pub(super) fn rotate(&self) -> io::Result<()> {
        let output = self.output();
        match fs::metadata(&output) {
            Ok(found) if found.len() > OUTPUT_MAX => {
                fs::copy(&output, output.with_extension("log.1"))?;
                fs::OpenOptions::new().write(true).open(&output)?.set_len(0)
            }
            Ok(_) => Ok(()),
            Err(error) => absent(Err(error)),
        }
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        absent(fs::remove_dir_all(&self.0))
    }
}

fn last(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) => return absent(Err(error)).map(|()| Vec::new()),
    };
    let len = file.metadata()?.len();
    let from = len.saturating_sub(u64::try_from(max_bytes).unwrap_or(u64::MAX));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(len - from).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Missing is as good as removed.
fn absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(io::Error::from),
        Err(error) => absent(Err(error)).map(|()| None),
    }
}

/// Whole or not at all, and on the disk.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_noticed_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home(dir.path().to_owned());
        assert_eq!(home.run().unwrap(), None);
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        home.begin(&Run::begins(began, 15)).unwrap();
        let run = home.run().unwrap().unwrap();
        assert_eq!(run.started_at(), began);
        let first = began + Duration::from_secs(1);
        assert_eq!(home.lost_at(run, first).unwrap(), first);
        let run = home.run().unwrap().unwrap();
        assert_eq!(
            home.lost_at(run, first + Duration::from_secs(9)).unwrap(),
            first
        );
        home.unbegin().unwrap();
        home.unbegin().unwrap();
        assert_eq!(home.run().unwrap(), None);
    }

    #[test]
    fn output_is_cut_and_its_tail_goes_on_over_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home(dir.path().to_owned());
        assert_eq!(home.tail(5).unwrap(), b"");
        let size = usize::try_from(OUTPUT_MAX).unwrap() + 1;
        let mut shim = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(home.output())
            .unwrap();
        shim.write_all(&vec![b'x'; size]).unwrap();
        home.rotate().unwrap();
        shim.write_all(b"new").unwrap();
        home.rotate().unwrap();
        assert_eq!(fs::metadata(home.output()).unwrap().len(), 3);
        assert_eq!(home.tail(5).unwrap(), b"xxnew");
        assert_eq!(home.tail(2).unwrap(), b"ew");
    }
}
