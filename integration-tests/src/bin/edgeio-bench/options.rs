//! What can be asked of the benches. Defaults are those whose figures stand in the README.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// A bench.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Bench {
    /// What the parts below edgeIO cost by themselves.
    Floors,
    /// One deployment, from the call at the root to RUNNING seen by a watching client.
    Deploy,
    /// Memory, CPU and bytes on the wire of idle release binaries.
    Footprint,
}

/// Another orchestrator that is measured beside us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Peer {
    /// Docker Swarm, on a dockerd of its own. Needs root.
    Swarm,
    /// Nobody.
    None,
}

/// Measures edgeIO beside the floors of this machine.
#[derive(Parser, Debug)]
#[command(name = "edgeio-bench", version)]
pub(crate) struct Options {
    /// Which benches; all of them when none is named.
    #[arg(value_enum)]
    bench: Vec<Bench>,
    /// Rounds; floor and system take turns within each.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Starts of a workload in each round.
    #[arg(long, default_value_t = 8)]
    pub(crate) samples: usize,
    /// Who is measured beside us.
    #[arg(long, value_enum, default_value_t = Peer::Swarm)]
    pub(crate) peer: Peer,
    /// Where the release binaries are.
    #[arg(long, default_value = "target/release")]
    pub(crate) bin_dir: PathBuf,
    /// Where databases and logs go: on the disk that is meant, a temporary file system would flatter.
    #[arg(long, default_value = "target/bench")]
    pub(crate) data_dir: PathBuf,
    /// Append one JSON line for each row to this file.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables, as they stand in the README, to this file instead of `figures.md` in the data directory.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Seconds before the footprint is taken, for start-up to pass.
    #[arg(long, default_value_t = 30)]
    pub(crate) settle: u64,
    /// Seconds over which idle CPU and bytes are counted.
    #[arg(long, default_value_t = 120)]
    pub(crate) window: u64,
    /// Seconds to wait at most, before each round, for other programs to leave the machine alone.
    #[arg(long, default_value_t = 30)]
    pub(crate) quiet_wait: u64,
    /// Seed of the resampling behind the intervals.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Exit with 1 when a goal is missed.
    #[arg(long)]
    pub(crate) gate: bool,
}

impl Options {
    pub(crate) fn benches(&self) -> Vec<Bench> {
        if self.bench.is_empty() {
            Bench::value_variants().to_vec()
        } else {
            self.bench.clone()
        }
    }

    pub(crate) fn markdown(&self) -> PathBuf {
        let usual = || self.data_dir.join("figures.md");
        self.markdown.clone().unwrap_or_else(usual)
    }

    pub(crate) fn quiet_wait(&self) -> Duration {
        Duration::from_secs(self.quiet_wait)
    }
}
