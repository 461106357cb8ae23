//! What a process takes, by the kernel's own books: memory by `smaps_rollup`, CPU by `schedstat`, bytes by `ss`.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result};

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All that is resident.
    pub(crate) rss: u64,
    /// The same with what is shared divided among its sharers.
    pub(crate) pss: u64,
    /// What no file stands behind: its heap and stacks.
    pub(crate) anon: u64,
}

impl Memory {
    /// Of the process `pid`.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1))
                .and_then(|kib| kib.parse().ok())
                .unwrap_or(0)
        };
        Ok(Self {
            rss: field("Rss:"),
            pss: field("Pss:"),
            anon: field("Anonymous:"),
        })
    }
}

/// CPU time of the process `pid` until now, in nanoseconds: all threads that live.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    sum_of_threads(pid, "schedstat", |text| {
        text.split_whitespace()
            .next()
            .and_then(|ns| ns.parse().ok())
    })
}

/// How often its threads have gone to sleep until now: each is a wake-up.
pub(crate) fn sleeps(pid: u32) -> Result<u64> {
    sum_of_threads(pid, "status", |text| {
        let line = text
            .lines()
            .find(|l| l.starts_with("voluntary_ctxt_switches:"));
        line.and_then(|line| line.split_whitespace().nth(1))
            .and_then(|count| count.parse().ok())
    })
}

fn sum_of_threads(pid: u32, file: &str, read: impl Fn(&str) -> Option<u64>) -> Result<u64> {
    let tasks = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
        let path = task.context("read a thread")?.path().join(file);
        // A thread may have ended meanwhile.
        sum += fs::read_to_string(path)
            .ok()
            .and_then(|text| read(&text))
            .unwrap_or(0);
    }
    Ok(sum)
}

/// Bytes that a process has sent and received over its open TCP connections, acknowledged payload as `ss` counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// By process id.
pub(crate) fn wire() -> Result<BTreeMap<u32, Wire>> {
    let output = Command::new("ss")
        .args([
            "--tcp",
            "--info",
            "--processes",
            "--numeric",
            "--no-header",
            "--oneline",
        ])
        .output()
        .context("run ss: it comes with iproute2")?;
    Ok(parse_wire(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_wire(text: &str) -> BTreeMap<u32, Wire> {
    let mut all: BTreeMap<u32, Wire> = BTreeMap::new();
    for line in text.lines() {
        let number = |key: &str| -> Option<u64> {
            let after = line.split_once(key)?.1;
            let end = after
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(after.len());
            after[..end].parse().ok()
        };
        let Some(pid) = number("pid=").and_then(|pid| u32::try_from(pid).ok()) else {
            continue;
        };
        let wire = all.entry(pid).or_default();
        wire.sent += number("bytes_acked:").unwrap_or(0);
        wire.received += number("bytes_received:").unwrap_or(0);
    }
    all
}

/// Processes of the program `name`.
pub(crate) fn pids_of(name: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let path = entry.context("read /proc")?.path();
        let pid = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.parse().ok());
        if let Some(pid) = pid
            && is_program(&path, name)
        {
            found.push(pid);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_program(process: &Path, name: &str) -> bool {
    fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ss_prints() {
        let text = "ESTAB 0 0 127.0.0.1:4222 127.0.0.1:50000 users:((\"edgeio-worker\",pid=71,fd=9)) cubic rto:204 \
                    bytes_sent:300 bytes_acked:299 bytes_received:1201 segs_out:9\n\
                    ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 users:((\"edgeio-worker\",pid=71,fd=10)) cubic bytes_acked:1\n\
                    ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 cubic bytes_acked:7\n";
        let wire = Wire {
            sent: 300,
            received: 1201,
        };
        assert_eq!(parse_wire(text), BTreeMap::from([(71, wire)]));
    }

    #[test]
    fn reads_this_process() {
        let pid = std::process::id();
        let memory = Memory::of(pid).unwrap();
        assert!(
            memory.rss >= memory.pss && memory.pss > 0 && memory.anon > 0,
            "{memory:?}"
        );
        assert!(cpu_ns(pid).unwrap() > 0);
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert!(pids_of(name.trim()).unwrap().contains(&pid));
    }
}
