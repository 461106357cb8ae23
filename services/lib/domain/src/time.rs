//! Time as the domain sees it: whole milliseconds, handed in by whoever has a clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time in milliseconds. Which clock it is of is said where it is kept: stored times are the recording tier's
/// wall clock (since the Unix epoch), leases are CLOCK_BOOTTIME.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Time(pub i64);

impl Time {
    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, rhs: Duration) -> Time {
        Time(
            self.0
                .saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, rhs: Duration) -> Time {
        Time(
            self.0
                .saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// Clocks: the machine's in production, the simulator's in tests.
pub trait Clock: Send + Sync {
    /// Wall clock, since the Unix epoch. It may jump.
    fn wall(&self) -> Time;
    /// CLOCK_BOOTTIME: never jumps, goes on while the machine sleeps.
    fn boot(&self) -> Time;
}
