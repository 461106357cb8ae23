//! What a bridge counts, and how often it may speak of it.
//!
//! Whoever can publish could otherwise fill the log: a fault is counted each time and told now and then, with the
//! count of all so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One line of a kind in this time: enough to be found in a log, too little to fill it.
const QUIET: Duration = Duration::from_secs(10);

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Count {
    total: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Count {
    /// The number.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Adds `more`.
    pub(super) fn add(&self, more: u64) {
        self.total.fetch_add(more, Ordering::Relaxed);
    }

    /// Adds one and says whether it is time to speak of it.
    pub(super) fn may_log(&self) -> bool {
        self.may_log_after(1)
    }

    /// Adds `more` and says whether it is time to speak of it.
    pub(super) fn may_log_after(&self, more: u64) -> bool {
        self.add(more);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = told.is_none_or(|last| now.duration_since(last) >= QUIET);
        if due {
            *told = Some(now);
        }
        due
    }
}

/// What one bridge did since it started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Hellos and reports that were queued for the cluster.
    pub reports: Count,
    /// Samples that arrived.
    pub samples: Count,
    /// Samples that were queued for the cluster: the newest of each worker and interval.
    pub samples_sent: Count,
    /// Messages that were published for workers.
    pub commands: Count,
    /// Messages for workers that could not be published.
    pub commands_failed: Count,
    /// Payloads and messages that were no messages.
    pub malformed: Count,
    /// Reports that were lost here: they came faster than they could be passed on.
    pub lost: Count,
    /// Sessions with the cluster.
    pub attached: Count,
    /// Attempts at a session that failed.
    pub attach_failures: Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_counted_and_few_are_told() {
        let count = Count::default();
        assert!(count.may_log());
        assert!(!(0..1000).any(|_| count.may_log()));
        count.add(2);
        assert_eq!(count.total(), 1003);
    }
}
