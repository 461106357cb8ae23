//! Virtual time and counted ids.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use edgeio_domain::{
    ids::IdSource,
    time::{Clock, Time},
};
use uuid::Uuid;

/// Wall time begins here, so that it differs from boot time.
const EPOCH: i64 = 1_700_000_000_000;

/// Virtual time, in milliseconds since the schedule began.
#[derive(Debug, Default)]
pub(super) struct SimClock(AtomicI64);

impl SimClock {
    pub(super) fn set(&self, now: Time) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Time {
        Time(EPOCH + self.0.load(Ordering::Relaxed))
    }

    fn boot(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
}

/// Ids that count up, each source in a range of its own.
#[derive(Debug)]
pub(super) struct SimIds {
    range: u128,
    next: AtomicU64,
}

impl SimIds {
    pub(super) fn new(range: u8) -> Self {
        Self {
            range: u128::from(range) << 64,
            next: AtomicU64::new(1),
        }
    }
}

impl IdSource for SimIds {
    fn next(&self) -> Uuid {
        Uuid::from_u128(self.range | u128::from(self.next.fetch_add(1, Ordering::Relaxed)))
    }
}
