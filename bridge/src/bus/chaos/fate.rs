//! What becomes of each message.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::MARKER;

/// How often what happens, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Odds {
    /// A message is lost.
    pub drop: f64,
    /// One that is not lost comes twice.
    pub duplicate: f64,
    /// One that comes, comes late: behind others that were published after it.
    pub reorder: f64,
    /// How late, at most.
    pub longest: Duration,
}

impl Odds {
    /// A bus on which nothing is sure: 20 % are lost, 20 % come twice, 30 % late.
    #[must_use]
    pub const fn harsh(longest: Duration) -> Self {
        Self {
            drop: 0.2,
            duplicate: 0.2,
            reorder: 0.3,
            longest,
        }
    }
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that were published.
    pub published: u64,
    /// Of these, lost.
    pub dropped: u64,
    /// Of these, sent twice.
    pub duplicated: u64,
    /// Copies that were held back.
    pub delayed: u64,
}

/// The source of all mischief of one run, shared by all buses of it.
#[derive(Debug)]
pub struct Chaos {
    odds: Odds,
    random: Mutex<StdRng>,
    published: AtomicU64,
    dropped: AtomicU64,
    duplicated: AtomicU64,
    delayed: AtomicU64,
}

impl Chaos {
    /// Chaos that draws from `seed`.
    #[must_use]
    pub fn new(seed: u64, odds: Odds) -> Arc<Self> {
        tracing::info!(seed, marker = MARKER, "the bus is disturbed on purpose");
        Arc::new(Self {
            odds,
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            published: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            duplicated: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
        })
    }

    /// What has happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            published: self.published.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            duplicated: self.duplicated.load(Relaxed),
            delayed: self.delayed.load(Relaxed),
        }
    }

    /// The copies of a message that are sent, each after its delay.
    pub(super) fn fate(&self) -> Vec<Duration> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let odds = &self.odds;
        self.published.fetch_add(1, Relaxed);
        if random.random_bool(odds.drop) {
            self.dropped.fetch_add(1, Relaxed);
            return Vec::new();
        }
        let twice = random.random_bool(odds.duplicate);
        self.duplicated.fetch_add(u64::from(twice), Relaxed);
        (0..=usize::from(twice))
            .map(|_| {
                if !random.random_bool(odds.reorder) {
                    return Duration::ZERO;
                }
                self.delayed.fetch_add(1, Relaxed);
                odds.longest.mul_f64(random.random::<f64>())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_fates_and_the_odds_are_kept() {
        let odds = Odds::harsh(Duration::from_secs(2));
        let fates = |seed| {
            let chaos = Chaos::new(seed, odds);
            let fates: Vec<_> = (0..10_000).map(|_| chaos.fate()).collect();
            (fates, chaos.tally())
        };
        let (first, tally) = fates(7);
        assert_eq!(fates(7).0, first);
        assert_ne!(fates(8).0, first);
        let near = |part: u64, whole: u64, odds: f64| {
            let share = part as f64 / whole as f64;
            assert!((share - odds).abs() < 0.02, "{tally:?}");
        };
        let arrived = tally.published - tally.dropped;
        near(tally.dropped, tally.published, odds.drop);
        near(tally.duplicated, arrived, odds.duplicate);
        near(tally.delayed, arrived + tally.duplicated, odds.reorder);
        assert!(first.iter().flatten().all(|delay| *delay < odds.longest));
    }
}
