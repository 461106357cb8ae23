//! The well-behaved client beside the hostile ones, and what is seen of a process from outside.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use edgeio_integration_tests::testbed::{Bed, Tier, eventually};
use edgeio_proto::api::v1::ListRequest;

use super::tell;

/// Between two calls of the well-behaved client: a dashboard is slower.
const PAUSE: Duration = Duration::from_millis(20);

/// So much may a process grow by all that a test sends it.
const GROWTH: u64 = 50 << 20;

/// Descriptors beyond the baseline that are not yet a leak: a log file that turns over, a connection to the database.
const SLACK: usize = 4;

/// A client that lists applications again and again.
pub(crate) struct Guest {
    done: Arc<AtomicBool>,
    calls: tokio::task::JoinHandle<Result<Vec<Duration>>>,
}

impl Guest {
    /// Begins to call.
    pub(crate) fn at(tier: &Tier) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (stop, tier) = (done.clone(), tier.clone());
        let calls = tokio::spawn(async move {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let from = Instant::now();
                let answer = tier.applications().list(ListRequest::default()).await;
                answer
                    .with_context(|| format!("call {} of the well-behaved client", times.len()))?;
                times.push(from.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            Ok(times)
        });
        Self { done, calls }
    }

    /// Its latencies, shortest first. Every call was answered.
    pub(crate) async fn leave(self) -> Result<Vec<Duration>> {
        self.done.store(true, Ordering::Relaxed);
        let mut times = self.calls.await.context("the well-behaved client")??;
        times.sort_unstable();
        ensure!(
            !times.is_empty(),
            "the well-behaved client never got to call"
        );
        Ok(times)
    }
}

/// Prints what the well-behaved client felt. The machine is shared with other tests, so this is told and not judged.
pub(crate) fn compare(who: &str, before: &[Duration], during: &[Duration]) {
    let at = |times: &[Duration], percent: usize| {
        let index = (times.len().saturating_sub(1)) * percent / 100;
        times.get(index).copied().unwrap_or_default()
    };
    let ratio = |percent: usize| {
        at(during, percent).as_secs_f64() / at(before, percent).as_secs_f64().max(1e-6)
    };
    tell(&format!(
        "{who}: {} calls, p50 {:?} -> {:?} (x{:.1}), p99 {:?} -> {:?} (x{:.1})",
        during.len(),
        at(before, 50),
        at(during, 50),
        ratio(50),
        at(before, 99),
        at(during, 99),
        ratio(99)
    ));
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Footprint {
    resident: u64,
    descriptors: usize,
}

impl Footprint {
    /// Of a program of the bed.
    pub(crate) fn of(bed: &Bed, program: &str) -> Result<Self> {
        let pid = bed.program(program)?.pid();
        let pid = pid.with_context(|| format!("{program} does not run"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("look at {program}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(Self {
            resident: kib.context("no VmRSS")?.parse::<u64>()? * 1024,
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        })
    }

    /// The same, with the descriptors of another moment.
    pub(crate) fn with_descriptors_of(self, other: &Self) -> Self {
        Self {
            descriptors: other.descriptors,
            ..self
        }
    }

    /// Checks that a process is not much larger than it was.
    pub(crate) fn is_small(&self, now: &Self) -> Result<()> {
        let grown = now.resident.saturating_sub(self.resident);
        ensure!(
            grown < GROWTH,
            "grown by {} MiB: {self:?} -> {now:?}",
            grown >> 20
        );
        Ok(())
    }

    /// Waits until the connections are gone, and checks what memory is left over.
    pub(crate) async fn is_restored(&self, bed: &Bed, program: &str) -> Result<()> {
        eventually(&format!("{program} has let go"), async || {
            let now = Self::of(bed, program)?;
            ensure!(
                now.descriptors <= self.descriptors + SLACK,
                "{} descriptors, {} before",
                now.descriptors,
                self.descriptors
            );
            Ok(())
        })
        .await?;
        let now = Self::of(bed, program)?;
        tell(&format!(
            "{program}: {} -> {} MiB, {} -> {} descriptors",
            self.resident >> 20,
            now.resident >> 20,
            self.descriptors,
            now.descriptors
        ));
        self.is_small(&now).with_context(|| program.to_owned())
    }
}
