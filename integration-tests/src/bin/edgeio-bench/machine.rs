//! The machine under the figures: kernel, cores, how busy others keep it, and what a durable write costs on its disk.

use std::{
    fs,
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{options::Options, stats::Series};

/// Share of all cores above which others are at work. A kernel thread or a timer stays below it.
const QUIET: f64 = 0.08;
/// How long the load is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// What stays the same during a run.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cores: usize,
    /// Median of a durable 4 KiB write, in µs: it carries every figure that a database is part of.
    pub(crate) fdatasync_us: f64,
    /// Programs and their versions.
    pub(crate) versions: Vec<(String, String)>,
    /// Most that others used of all cores before a round.
    pub(crate) busy: f64,
}

impl Machine {
    /// Looks at the machine.
    pub(crate) fn look(options: &Options) -> Result<Self> {
        fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("make {}", options.data_dir.display()))?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("kernel release")?;
        let mut versions = vec![("edgeio".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
        for (program, args) in [
            ("nats-server", &["--version"][..]),
            ("docker", &["version", "--format", "{{.Server.Version}}"]),
        ] {
            let output = Command::new(program).args(args).output().with_context(|| {
                format!("run {program}: integration-tests/tools/get-tools bench gets it")
            })?;
            let text = String::from_utf8_lossy(&output.stdout);
            let version = text.trim().rsplit([' ', 'v']).next().unwrap_or_default();
            versions.push((program.to_owned(), version.to_owned()));
        }
        Ok(Self {
            kernel: kernel.trim().to_owned(),
            cores: thread::available_parallelism()?.get(),
            fdatasync_us: fdatasync(&options.data_dir, 300)?.p50(),
            versions,
            busy: 0.0,
        })
    }

    /// Waits for others to leave the machine alone, and notes how busy they kept it in the end.
    pub(crate) fn settle(&mut self, wait: Duration) -> Result<()> {
        let until = Instant::now() + wait;
        let mut seen = busy(LOOK)?;
        while seen > QUIET && Instant::now() < until {
            seen = busy(LOOK)?;
        }
        self.busy = self.busy.max(seen);
        Ok(())
    }
}

/// Times durable writes of 4 KiB, in µs.
pub(crate) fn fdatasync(dir: &Path, n: usize) -> Result<Series> {
    let path = dir.join(format!("fdatasync.{}", std::process::id()));
    let mut file = fs::File::create(&path).context("make a file to write to")?;
    let block = [0x5a; 4096];
    file.write_all(&block).context("write")?;
    let mut series = Series::default();
    for _ in 0..n {
        let start = Instant::now();
        file.write_all_at(&block, 0).context("write")?;
        file.sync_data().context("fdatasync")?;
        series.add(start.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(&path).context("remove the file")?;
    Ok(series)
}

/// Share of all cores in use over `time`.
fn busy(time: Duration) -> Result<f64> {
    let before = ticks()?;
    thread::sleep(time);
    let after = ticks()?;
    let (total, idle) = (after.0 - before.0, after.1 - before.1);
    Ok(1.0 - idle / total.max(1.0))
}

/// All and idle ticks of all cores since boot.
fn ticks() -> Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let first = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = first
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let total = fields.iter().take(8).sum();
    let idle = fields.iter().skip(3).take(2).sum();
    Ok((total, idle))
}
