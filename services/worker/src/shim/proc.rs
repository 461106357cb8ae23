//! What `/proc` tells about processes. Reads only; a process that is gone is `None`, never an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// One line of `/proc/<pid>/stat`, what we use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The kernel's letter: `R`, `S`, `D`, `T` (stopped), `Z` (dead, not reaped), ...
    pub state: char,
    /// The parent.
    pub parent: i32,
    /// CPU time of it and of the children it has reaped, in ticks.
    pub cpu_ticks: u64,
    /// Start, in ticks since boot.
    pub start_ticks: u64,
    /// Resident memory, in pages.
    pub rss_pages: u64,
}

/// Reads one process.
pub fn stat(pid: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(line: &str) -> Option<Stat> {
    // The name in parentheses may hold spaces and parentheses: the fields begin after the last one.
    let (_, rest) = line.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |nth: usize| fields.get(nth - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        cpu_ticks: number(14)? + number(15)? + number(16)? + number(17)?,
        start_ticks: number(22)?,
        rss_pages: number(24)?,
    })
}

/// Whether `pid` is still the process that started at `start_ticks`, and not yet dead.
pub fn is_alive(pid: i32, start_ticks: u64) -> bool {
    stat(pid).is_some_and(|s| s.start_ticks == start_ticks && s.state != 'Z' && s.state != 'X')
}

/// This boot of the machine.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// All processes below `root`, without itself: children, their children, and so on.
pub fn descendants(root: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                next.push(*child);
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 10 20 30 40 20 0 1 0 99 1000 55 9\n";
        let stat = parse(line).unwrap();
        let want = Stat {
            state: 'S',
            parent: 1,
            cpu_ticks: 100,
            start_ticks: 99,
            rss_pages: 55,
        };
        assert_eq!(stat, want);
    }

    #[test]
    fn a_child_is_seen_below_its_parent_and_its_pid_is_bound_to_its_start() {
        let me = i32::try_from(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(descendants(me).contains(&pid));
        let ticks = stat(pid).unwrap().start_ticks;
        assert!(is_alive(pid, ticks));
        assert!(!is_alive(pid, ticks + 1));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_alive(pid, ticks));
        assert!(!boot_id().is_empty());
    }
}
