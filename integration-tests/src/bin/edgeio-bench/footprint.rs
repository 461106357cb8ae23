//! What idle release binaries take: memory, CPU, wake-ups, bytes on the wire, and size on disk, beside the engine that
//! every container host runs anyway.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    child::fresh_dir,
    line::Line,
    options::Options,
    report::{Report, figure},
    usage::{Memory, Wire, cpu_ns, pids_of, sleeps, wire},
};

/// Most memory of an idle worker, in MB (goal G11).
const WORKER_MB: f64 = 9.0;
/// Most CPU of an idle worker, in percent of a core (goal G11).
const WORKER_CPU: f64 = 0.05;
/// Most memory of root, cluster and nats-server together, in MB (goal G13).
const CONTROL_MB: f64 = 40.0;
/// Most bytes a second that an idle worker costs (goal G10).
const WORKER_BYTES: f64 = 100.0;

/// A process at one moment.
struct Look {
    cpu_ns: u64,
    sleeps: u64,
    wire: Wire,
}

impl Look {
    fn at(pid: u32, wires: &std::collections::BTreeMap<u32, Wire>) -> Result<Self> {
        Ok(Self {
            cpu_ns: cpu_ns(pid)?,
            sleeps: sleeps(pid)?,
            wire: wires.get(&pid).copied().unwrap_or_default(),
        })
    }
}

/// What a process took over the window.
struct Taken {
    name: String,
    memory: Memory,
    /// Percent of a core.
    cpu: f64,
    wakeups_a_second: f64,
    /// Both directions.
    bytes_a_second: f64,
    /// Size of the program, in bytes.
    size: u64,
}

impl Taken {
    fn rss_mb(&self) -> f64 {
        megabytes(self.memory.rss)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            figure(self.rss_mb()),
            figure(megabytes(self.memory.pss)),
            figure(megabytes(self.memory.anon)),
            figure(self.cpu),
            figure(self.wakeups_a_second),
            figure(self.bytes_a_second * 60.0),
            figure(self.size as f64 / 1e6),
        ]
    }
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

/// Measures the line while nothing is asked of it.
pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let dir = fresh_dir(&options.data_dir, "footprint")?;
    let line = Line::start(options, &dir).await?;
    report.note(&format!(
        "footprint: {} s to settle, {} s to count",
        options.settle, options.window
    ))?;
    tokio::time::sleep(Duration::from_secs(options.settle)).await;
    report.machine.settle(options.quiet_wait())?;
    let mut watched: Vec<(String, u32)> = line
        .processes()
        .iter()
        .map(|child| (child.name().to_owned(), child.pid()))
        .collect();
    for engine in ["dockerd", "containerd"] {
        watched.extend(
            pids_of(engine)?
                .into_iter()
                .map(|pid| (engine.to_owned(), pid)),
        );
    }
    let taken = over_window(&watched, Duration::from_secs(options.window)).await?;
    drop(line);
    tell(report, &taken)?;
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
}

async fn over_window(watched: &[(String, u32)], window: Duration) -> Result<Vec<Taken>> {
    let looks = || -> Result<Vec<Look>> {
        let wires = wire()?;
        watched
            .iter()
            .map(|(_, pid)| Look::at(*pid, &wires))
            .collect()
    };
    let before = looks()?;
    tokio::time::sleep(window).await;
    let after = looks()?;
    let seconds = window.as_secs_f64();
    let mut taken = Vec::new();
    for (((name, pid), before), after) in watched.iter().zip(before).zip(after) {
        // A thread or connection that ended in between takes its count with it.
        let per_second = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        let program = fs::metadata(Path::new("/proc").join(pid.to_string()).join("exe"));
        taken.push(Taken {
            name: name.clone(),
            memory: Memory::of(*pid)?,
            cpu: per_second(before.cpu_ns, after.cpu_ns) / 1e9 * 100.0,
            wakeups_a_second: per_second(before.sleeps, after.sleeps),
            bytes_a_second: per_second(before.wire.sent, after.wire.sent)
                + per_second(before.wire.received, after.wire.received),
            size: program.context("size of the program")?.len(),
        });
    }
    Ok(taken)
}

fn tell(report: &mut Report, taken: &[Taken]) -> Result<()> {
    let mut cells: Vec<Vec<String>> = taken.iter().map(Taken::cells).collect();
    let sum = |names: &[&str]| -> f64 {
        let picked = taken.iter().filter(|t| names.contains(&t.name.as_str()));
        picked.map(Taken::rss_mb).sum()
    };
    let control = sum(&["edgeio-root", "edgeio-cluster", "nats-server"]);
    let mut total = vec![String::new(); cells.first().map_or(0, Vec::len)];
    if let [name, rss, ..] = total.as_mut_slice() {
        *name = "root, cluster and nats-server".to_owned();
        *rss = figure(control);
    }
    cells.push(total);
    let heads = [
        "idle",
        "RSS (MB)",
        "PSS",
        "anonymous",
        "CPU (% of a core)",
        "wake-ups a second",
        "bytes a minute",
        "program (MB)",
    ];
    report.table("Footprint of idle release binaries", &heads, &cells)?;
    for one in taken {
        report.json(&json!({
            "bench": "footprint", "variant": one.name, "rss_kib": one.memory.rss, "pss_kib": one.memory.pss,
            "anon_kib": one.memory.anon, "cpu_percent": one.cpu, "wakeups_per_s": one.wakeups_a_second,
            "bytes_per_s": one.bytes_a_second, "program_bytes": one.size,
        }))?;
    }
    let worker = taken
        .iter()
        .find(|t| t.name == "edgeio-worker")
        .context("the worker")?;
    report.judge(
        "G11",
        &format!(
            "worker: {} MB (goal: at most {WORKER_MB}), {} % of a core (at most {WORKER_CPU}); dockerd in this run: {} MB",
            figure(worker.rss_mb()),
            figure(worker.cpu),
            figure(sum(&["dockerd"])),
        ),
        worker.rss_mb() <= WORKER_MB && worker.cpu <= WORKER_CPU,
    )?;
    report.judge(
        "G13",
        &format!(
            "root, cluster and nats-server: {} MB (goal: at most {CONTROL_MB})",
            figure(control)
        ),
        control <= CONTROL_MB,
    )?;
    report.judge(
        "G10",
        &format!(
            "worker: {} bytes a second both ways (goal: at most {WORKER_BYTES})",
            figure(worker.bytes_a_second),
        ),
        worker.bytes_a_second <= WORKER_BYTES,
    )
}
