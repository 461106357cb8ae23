//! Control groups of one instance, version 1 and 2, by their files.
//!
//! The process runtime makes a [`Group`] for every instance; the shim puts the job into it, freezes, kills and asks it for
//! out-of-memory kills; the Docker runtime only reads the group that the engine made, because asking the engine's API for
//! statistics costs it a second a call. Blocking, small reads and writes of kernel files. Deliberately absent: systemd's
//! scopes over D-Bus; a delegated version 2 subtree is found by walking up from the agent's own group.

mod hierarchy;
mod known;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

pub use hierarchy::{Base, Hierarchies};
pub use known::Known;

use super::Stats;

/// The kernel's usual accounting period, in microseconds. Shorter ones cost more switches, longer ones stall a job that
/// is out of quota for longer.
const CPU_PERIOD_US: i64 = 100_000;
/// The least quota the kernel takes.
const CPU_QUOTA_MIN_US: i64 = 1_000;
/// How long an emptied group may take to let go of its last dying tasks. They are killed already: the kernel only has
/// to free their memory, which takes long under reclaim only.
const REMOVE_WITHIN: Duration = Duration::from_secs(5);
/// How long a freeze may take to reach every task; one in an uninterruptible sleep freezes when that ends.
const FREEZE_WITHIN: Duration = Duration::from_secs(2);

/// What an instance may use at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU in millicores.
    pub cpu_millis: Option<i64>,
    /// Memory in bytes, swap included.
    pub memory_bytes: Option<i64>,
    /// Process ids.
    pub pids: Option<i64>,
}

impl Limits {
    /// Whether the job itself asked for a limit.
    pub fn asked(&self) -> bool {
        self.cpu_millis.is_some() || self.memory_bytes.is_some()
    }
}

/// The two layouts the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// One hierarchy a controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// The directories of one instance, by controller. In version 2 they are all the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    version: Version,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    freezer: Option<PathBuf>,
}

impl Group {
    fn dirs(&self) -> Vec<&Path> {
        let all = [
            &self.freezer,
            &self.pids,
            &self.cpu,
            &self.cpuacct,
            &self.memory,
        ];
        let mut dirs: Vec<&Path> = Vec::new();
        for dir in all.into_iter().flatten() {
            if !dirs.contains(&dir.as_path()) {
                dirs.push(dir);
            }
        }
        dirs
    }

    /// Whether `name` is part of where the group is.
    pub fn names(&self, name: &str) -> bool {
        self.dirs()
            .first()
            .is_some_and(|dir| dir.to_string_lossy().contains(name))
    }

    /// Makes the directories and writes the limits. What exists is kept, so call [`Group::remove`] first for counters at 0.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub fn create(&self, limits: &Limits) -> io::Result<()> {
        // The parent may vanish in between: another instance's removal takes it away when it is empty.
        for _ in 0..3 {
            match self.make(limits) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        self.make(limits)
    }

    fn make(&self, limits: &Limits) -> io::Result<()> {
        for dir in self.dirs() {
            if let Some(parent) = dir.parent() {
                make_dir(parent)?;
                if self.version == Version::V2 {
                    enable(parent)?;
                }
            }
            make_dir(dir)?;
        }
        self.limit(limits)
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        let v1 = self.version == Version::V1;
        if let Some(millis) = limits.cpu_millis {
            let dir = controller(self.cpu.as_ref(), "cpu")?;
            let quota = (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(CPU_QUOTA_MIN_US);
            if v1 {
                write(&dir.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string())?;
                write(&dir.join("cpu.cfs_quota_us"), &quota.to_string())?;
            } else {
                write(&dir.join("cpu.max"), &format!("{quota} {CPU_PERIOD_US}"))?;
            }
        }
        if let Some(bytes) = limits.memory_bytes {
            let dir = controller(self.memory.as_ref(), "memory")?;
            let (limit, swap, with) = if v1 {
                (
                    "memory.limit_in_bytes",
                    "memory.memsw.limit_in_bytes",
                    bytes,
                )
            } else {
                ("memory.max", "memory.swap.max", 0)
            };
            write(&dir.join(limit), &bytes.to_string())?;
            // Kernels without swap accounting do not have the file; there a job may swap.
            match write(&dir.join(swap), &with.to_string()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        if let (Some(pids), Some(dir)) = (limits.pids, &self.pids) {
            write(&dir.join("pids.max"), &pids.to_string())?;
        }
        Ok(())
    }

    /// Files into which a single-threaded process writes `0` to enter the group.
    ///
    /// # Errors
    /// The first file that could not be opened.
    pub fn entries(&self) -> io::Result<Vec<fs::File>> {
        // Moving a whole process makes the kernel wait for a grace period, some 20 ms; moving the calling thread does not, and
        // between fork and exec there is only one. Version 2 takes threads only in threaded groups, which have no memory limit.
        let file = match self.version {
            Version::V1 => "tasks",
            Version::V2 => "cgroup.procs",
        };
        let open = |dir: &Path| fs::OpenOptions::new().write(true).open(dir.join(file));
        self.dirs().into_iter().map(open).collect()
    }

    /// The processes inside.
    pub fn processes(&self) -> Vec<i32> {
        let Some(dir) = self.dirs().into_iter().next() else {
            return Vec::new();
        };
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills all that is inside once; call it until [`Group::processes`] is empty, since a fork may escape one pass in version 1.
    pub fn kill(&self) {
        if self.version == Version::V2
            && let Some(dir) = self.dirs().first()
            && write(&dir.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for pid in self.processes().into_iter().filter_map(Pid::from_raw) {
            // Gone already is what we want.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Stops every task inside from being scheduled, or lets them go on.
    ///
    /// # Errors
    /// The group has no freezer, or the tasks did not freeze in time.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        let dir = controller(self.freezer.as_ref(), "freezer")?;
        match (self.version, frozen) {
            (Version::V1, true) => write(&dir.join("freezer.state"), "FROZEN")?,
            (Version::V1, false) => write(&dir.join("freezer.state"), "THAWED")?,
            (Version::V2, true) => write(&dir.join("cgroup.freeze"), "1")?,
            (Version::V2, false) => write(&dir.join("cgroup.freeze"), "0")?,
        }
        let until = Instant::now() + FREEZE_WITHIN;
        while self.frozen() != Some(frozen) {
            if Instant::now() > until {
                let what = if frozen { "freeze" } else { "thaw" };
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("tasks did not {what}"),
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether all tasks are frozen; `None` where that cannot be known.
    pub fn frozen(&self) -> Option<bool> {
        let dir = self.freezer.as_ref()?;
        match self.version {
            Version::V1 => {
                let state = fs::read_to_string(dir.join("freezer.state")).ok()?;
                Some(state.trim() == "FROZEN")
            }
            Version::V2 => {
                let events = fs::read_to_string(dir.join("cgroup.events")).ok()?;
                Some(field(&events, "frozen")? == 1)
            }
        }
    }

    /// How many tasks the kernel killed in here for memory.
    pub fn oom_kills(&self) -> u64 {
        let Some(dir) = &self.memory else { return 0 };
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        field(&text, "oom_kill").unwrap_or(0)
    }

    /// What the group uses now.
    ///
    /// # Errors
    /// The group is gone, or its controllers are not there.
    pub fn usage(&self) -> io::Result<Stats> {
        let memory = controller(self.memory.as_ref(), "memory")?;
        let cpu = controller(self.cpuacct.as_ref(), "cpuacct")?;
        let stat = fs::read_to_string(memory.join("memory.stat"))?;
        let (used, idle, cpu_ns) = match self.version {
            Version::V1 => (
                number(&memory.join("memory.usage_in_bytes"))?,
                field(&stat, "total_inactive_file"),
                number(&cpu.join("cpuacct.usage"))?,
            ),
            Version::V2 => {
                let cpu = fs::read_to_string(cpu.join("cpu.stat"))?;
                let us = field(&cpu, "usage_usec").unwrap_or(0);
                (
                    number(&memory.join("memory.current"))?,
                    field(&stat, "inactive_file"),
                    us * 1000,
                )
            }
        };
        let memory_bytes = used.saturating_sub(idle.unwrap_or(0));
        Ok(Stats {
            cpu_ns_total: cpu_ns,
            memory_bytes,
        })
    }

    /// Removes the directories, with those the job made inside. Kills nothing. The shared parent goes with its last group.
    ///
    /// # Errors
    /// Tasks are still inside after some seconds.
    pub fn remove(&self) -> io::Result<()> {
        let until = Instant::now() + REMOVE_WITHIN;
        for dir in self.dirs() {
            while let Err(error) = remove_tree(dir) {
                if error.kind() == io::ErrorKind::NotFound {
                    break;
                }
                if Instant::now() > until {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            if let Some(parent) = dir.parent() {
                // Refused while other instances are in it.
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(())
    }
}

fn controller<'a>(dir: Option<&'a PathBuf>, name: &str) -> io::Result<&'a PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no `{name}` controller"));
    dir.ok_or_else(missing)
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    // Not `fs::write`: it would create a missing file where the directory is not the kernel's.
    let told = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", file.display()));
    let mut open = fs::OpenOptions::new()
        .write(true)
        .open(file)
        .map_err(told)?;
    io::Write::write_all(&mut open, text.as_bytes()).map_err(told)
}

fn make_dir(dir: &Path) -> io::Result<()> {
    let told = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", dir.display()));
    fs::create_dir_all(dir).map_err(told)
}

/// Lets the children of `parent` have the controllers, from the first ancestor that lacks them.
fn enable(parent: &Path) -> io::Result<()> {
    let wanted = ["cpu", "memory", "pids"];
    let has = |dir: &Path, file: &str| {
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        wanted
            .iter()
            .all(|w| text.split_whitespace().any(|c| c == *w))
    };
    if has(parent, "cgroup.subtree_control") {
        return Ok(());
    }
    if !has(parent, "cgroup.controllers")
        && let Some(above) = parent.parent()
        && above.join("cgroup.subtree_control").exists()
    {
        enable(above)?;
    }
    write(&parent.join("cgroup.subtree_control"), "+cpu +memory +pids")
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

fn number(file: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    text.trim()
        .parse()
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// The number after `key` in lines of `key number`.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 2 tree of plain files: this proves names and formats, the kernel's behaviour is proved by conformance.
    fn v2(dir: &Path) -> Group {
        for file in [
            "cpu.max",
            "memory.max",
            "memory.swap.max",
            "pids.max",
            "cgroup.freeze",
        ] {
            fs::write(dir.join(file), "").unwrap();
        }
        let all = Some(dir.to_owned());
        Group {
            version: Version::V2,
            cpu: all.clone(),
            cpuacct: all.clone(),
            memory: all.clone(),
            pids: all.clone(),
            freezer: all,
        }
    }

    #[test]
    fn version_2_limits_are_written_in_the_kernels_format() {
        let dir = tempfile::tempdir().unwrap();
        let group = v2(dir.path());
        let limits = Limits {
            cpu_millis: Some(500),
            memory_bytes: Some(64 << 20),
            pids: Some(9),
        };
        group.limit(&limits).unwrap();
        let read = |f: &str| fs::read_to_string(dir.path().join(f)).unwrap();
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("pids.max"), "9");
    }

    #[test]
    fn tiny_cpu_limits_are_raised_to_what_the_kernel_takes() {
        let dir = tempfile::tempdir().unwrap();
        let group = v2(dir.path());
        group
            .limit(&Limits {
                cpu_millis: Some(1),
                ..Limits::default()
            })
            .unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("cpu.max")).unwrap(),
            "1000 100000"
        );
    }

    #[test]
    fn version_2_usage_counts_microseconds_and_leaves_out_idle_cache() {
        let dir = tempfile::tempdir().unwrap();
        let group = v2(dir.path());
        let put = |f: &str, text: &str| fs::write(dir.path().join(f), text).unwrap();
        put("cpu.stat", "usage_usec 1500\nuser_usec 1000\n");
        put("memory.stat", "anon 100\ninactive_file 300\n");
        put("memory.current", "1000\n");
        put("memory.events", "oom 2\noom_kill 1\n");
        put("cgroup.events", "populated 1\nfrozen 1\n");
        let stats = group.usage().unwrap();
        assert_eq!(
            stats,
            Stats {
                cpu_ns_total: 1_500_000,
                memory_bytes: 700
            }
        );
        assert_eq!(group.oom_kills(), 1);
        assert_eq!(group.frozen(), Some(true));
    }

    #[test]
    fn a_limit_without_its_controller_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let group = v2(dir.path());
        fs::remove_file(dir.path().join("memory.max")).unwrap();
        let limits = Limits {
            memory_bytes: Some(1 << 20),
            ..Limits::default()
        };
        let error = group.limit(&limits).unwrap_err().to_string();
        assert!(error.contains("memory.max"), "{error}");
    }
}
