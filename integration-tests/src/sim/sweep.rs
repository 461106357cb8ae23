//! Many schedules on several threads.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use edgeio_domain::plant::Plant;

use super::{Profile, Violation, run};

/// Seeds to be run.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The seeds.
    pub seeds: Range<u64>,
    /// One profile for all; `None` draws it from each seed.
    pub profile: Option<Profile>,
    /// A bug that is planted.
    pub plant: Option<Plant>,
    /// How many threads.
    pub threads: usize,
    /// It ends after so many violations.
    pub most: usize,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Schedules that ended.
    pub schedules: u64,
    /// Events of all of them.
    pub events: u64,
    /// Virtual time of all of them.
    pub virtual_time: Duration,
    /// Real time.
    pub time: Duration,
    /// Schedules and events of each profile.
    pub by_profile: BTreeMap<Profile, (u64, u64)>,
    /// What did not hold, by seed, without events in words.
    pub violations: Vec<Violation>,
}

impl Sweep {
    /// The command that runs one of its seeds again.
    #[must_use]
    pub fn replay(&self, violation: &Violation) -> String {
        let (seed, profile) = (violation.seed, violation.profile.name());
        let plant = self
            .plant
            .map_or_else(String::new, |plant| format!(" --plant {}", plant.name()));
        format!(
            "cargo run -p edgeio-integration-tests --bin edgeio-sim -- --seeds {seed}..{} --profile {profile}{plant}",
            seed + 1
        )
    }

    /// Runs the seeds until all are done or too many failed; `watch` is told after each how far it is.
    pub fn run(&self, watch: &(dyn Fn(&Totals) + Sync)) -> Totals {
        let next = AtomicU64::new(self.seeds.start);
        let totals = Mutex::new(Totals::default());
        let began = Instant::now();
        let work = || {
            let lock = || totals.lock().unwrap_or_else(PoisonError::into_inner);
            while lock().violations.len() < self.most {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.seeds.end {
                    return;
                }
                let profile = self.profile.unwrap_or_else(|| Profile::of(seed));
                let outcome = run(seed, profile, self.plant);
                let mut totals = lock();
                match outcome {
                    Ok(outcome) => {
                        totals.schedules += 1;
                        totals.events += outcome.events;
                        let span = u64::try_from(outcome.virtual_ms).unwrap_or(0);
                        totals.virtual_time += Duration::from_millis(span);
                        totals.time = began.elapsed();
                        let of = totals.by_profile.entry(profile).or_default();
                        *of = (of.0 + 1, of.1 + outcome.events);
                        watch(&totals);
                    }
                    Err(violation) => totals.violations.push(violation),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads.max(1) {
                scope.spawn(work);
            }
            work();
        });
        let mut totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
        totals.violations.sort_by_key(|violation| violation.seed);
        totals
    }
}
