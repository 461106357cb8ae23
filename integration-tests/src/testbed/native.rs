//! Native jobs as the kernel shows them: found by a mark in their environment, never by what edgeio says.

use std::{cmp::Ordering, collections::BTreeSet, fs, path::Path};

/// The variable that marks the jobs of a bed.
pub const MARK: &str = "EDGEIO_STORY";

/// A process. Number and start together are never used twice, and are what makes two looks see the same one: its command
/// changes when it becomes another program.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it began, in the kernel's ticks since boot.
    pub start: u64,
    /// What it was started with.
    pub command: String,
}

impl Process {
    /// As the process runtime names a job.
    #[must_use]
    pub fn handle(&self) -> String {
        format!("{}@{}", self.pid, self.start)
    }
}

impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Process {}

impl PartialOrd for Process {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Process {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.pid, self.start).cmp(&(other.pid, other.start))
    }
}

/// Every process whose environment carries the mark.
#[must_use]
pub fn marked(mark: &str) -> BTreeSet<Process> {
    let wanted = format!("{MARK}={mark}");
    processes(|dir| {
        let environment = fs::read(dir.join("environ")).unwrap_or_default();
        environment
            .split(|b| *b == 0)
            .any(|variable| variable == wanted.as_bytes())
    })
}

/// Every shim that holds an instance below `dir`.
#[must_use]
pub fn shims(dir: &Path) -> BTreeSet<Process> {
    let below = dir.display().to_string();
    processes(|proc| {
        let line = fs::read(proc.join("cmdline")).unwrap_or_default();
        let mut words = line.split(|b| *b == 0).skip(1);
        words.next() == Some(b"shim")
            && words
                .next()
                .is_some_and(|word| String::from_utf8_lossy(word).starts_with(&below))
    })
}

fn processes(wanted: impl Fn(&Path) -> bool) -> BTreeSet<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let dir = entry.path();
            wanted(&dir).then(|| process(pid, &dir)).flatten()
        })
        .collect()
}

/// `None` when it has ended meanwhile, also when nobody has waited for it yet.
fn process(pid: u32, dir: &Path) -> Option<Process> {
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    // The name may hold anything; the fields begin after its last bracket, with the state, the third one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    let line = fs::read(dir.join("cmdline")).unwrap_or_default();
    Some(Process {
        pid,
        start: fields.get(19)?.parse().ok()?,
        command: String::from_utf8_lossy(&line)
            .trim_end_matches('\0')
            .replace('\0', " "),
    })
}
