//! The real clocks and the real source of ids.

use std::time::{SystemTime, UNIX_EPOCH};

use edgeio_domain::{
    ids::IdSource,
    time::{Clock, Time},
};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Time {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn boot(&self) -> Time {
        let now = clock_gettime(ClockId::Boottime);
        Time(
            now.tv_sec
                .saturating_mul(1000)
                .saturating_add(now.tv_nsec / 1_000_000),
        )
    }
}

/// UUIDs of version 7: unique and sorted by age.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}
