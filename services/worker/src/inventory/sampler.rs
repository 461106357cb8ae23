//! What the whole machine uses now: two small files of `/proc` a sample, nothing kept but the last counters.

use std::{fs, io};

/// What the machine uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeUsage {
    /// CPU in use since the last sample, in thousandths of a core.
    pub cpu_millis: i64,
    /// Memory in use, in bytes: all but what the kernel could give to a new job.
    pub memory_bytes: i64,
}

/// CPU time of the whole machine since boot, in ticks over all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
    cores: u64,
}

/// Takes samples.
#[derive(Debug)]
pub struct Sampler {
    last: Ticks,
}

impl Sampler {
    /// Begins now; the first sample covers the time from here.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            last: ticks(&fs::read_to_string("/proc/stat")?)?,
        })
    }

    /// What was used since the last sample.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn sample(&mut self) -> io::Result<NodeUsage> {
        let now = ticks(&fs::read_to_string("/proc/stat")?)?;
        let memory_bytes = memory(&fs::read_to_string("/proc/meminfo")?)?;
        let cpu_millis = millis(self.last, now);
        self.last = now;
        Ok(NodeUsage {
            cpu_millis,
            memory_bytes,
        })
    }
}

fn ticks(stat: &str) -> io::Result<Ticks> {
    let mut lines = stat.lines().take_while(|line| line.starts_with("cpu"));
    let total = lines.next().ok_or_else(|| malformed("/proc/stat"))?;
    let numbers: Vec<u64> = total
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = numbers[..] else {
        return Err(malformed("/proc/stat"));
    };
    // Stolen time passed without us: not busy, yet time.
    let busy = user + nice + system + irq + softirq;
    let cores = u64::try_from(lines.count()).unwrap_or(1).max(1);
    Ok(Ticks {
        busy,
        all: busy + idle + iowait + steal,
        cores,
    })
}

fn millis(before: Ticks, now: Ticks) -> i64 {
    // Counters of a core that went offline may step back.
    let busy = now.busy.saturating_sub(before.busy);
    let all = now.all.saturating_sub(before.all);
    let share = (busy.min(all) * now.cores * 1000)
        .checked_div(all)
        .unwrap_or(0);
    i64::try_from(share).unwrap_or(i64::MAX)
}

fn memory(meminfo: &str) -> io::Result<i64> {
    let kib = |key: &str| {
        let line = meminfo
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<i64>().ok())
            .ok_or_else(|| malformed("/proc/meminfo"))
    };
    Ok((kib("MemTotal")? - kib("MemAvailable")?).max(0) * 1024)
}

fn malformed(file: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{file} is not as expected"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_counted_in_thousandths_of_a_core() {
        let before = ticks("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 5\n").unwrap();
        // 100 more ticks over two cores, 25 of them idle: one and a half cores.
        let now = ticks("cpu  150 0 125 820 5 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 5\n").unwrap();
        assert_eq!(millis(before, now), 1500);
        assert_eq!(millis(now, now), 0);
        assert_eq!(millis(now, before), 0);
    }

    #[test]
    fn memory_in_use_leaves_out_what_is_available() {
        let text = "MemTotal:       1000 kB\nMemFree:         1 kB\nMemAvailable:    400 kB\n";
        assert_eq!(memory(text).unwrap(), 600 * 1024);
        assert!(memory("MemTotal: 1 kB\n").is_err());
    }

    #[test]
    fn this_machine_is_sampled() {
        let mut sampler = Sampler::new().unwrap();
        let usage = sampler.sample().unwrap();
        assert!(usage.memory_bytes > 0 && usage.cpu_millis >= 0, "{usage:?}");
    }
}
