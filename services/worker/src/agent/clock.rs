//! The machine's clocks: the only place of the agent where time is read. Waits are measured on the boot clock, which goes on
//! while the machine sleeps and never jumps; what is recorded is of the wall clock, which may.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeio_domain::time::Time;
use rustix::time::{ClockId, clock_gettime};

use crate::node::Now;

/// Both clocks, now.
pub(super) fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    Now {
        boot: Time(
            boot.tv_sec
                .saturating_mul(1000)
                .saturating_add(boot.tv_nsec / 1_000_000),
        ),
        wall: time(SystemTime::now()),
    }
}

/// A point in time of the wall clock.
pub(super) fn time(at: SystemTime) -> Time {
    let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => Time(millis(since)),
        Err(before) => Time(-millis(before.duration())),
    }
}
