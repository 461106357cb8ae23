//! Virtual time, the clocks of machines, which read it differently, and counted ids.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use edgeio_domain::{
    ids::IdSource,
    time::{Clock, Time},
};
use uuid::Uuid;

/// Wall time begins here, so that it differs from boot time.
const EPOCH: i64 = 1_700_000_000_000;
/// Parts in a million.
const MILLION: i64 = 1_000_000;

/// Virtual time, in milliseconds since the schedule began. All clocks follow it.
#[derive(Debug, Default)]
pub(super) struct Timeline(AtomicI64);

impl Timeline {
    pub(super) fn set(&self, now: Time) {
        self.0.store(now.0, Ordering::Relaxed);
    }

    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The clocks of one machine.
#[derive(Debug)]
pub(super) struct SimClock {
    timeline: Arc<Timeline>,
    /// Its speed in millionths.
    rate: AtomicI64,
    /// When the machine was started.
    started: AtomicI64,
    /// How far its wall clock is off.
    off: AtomicI64,
}

impl SimClock {
    pub(super) fn new(timeline: &Arc<Timeline>) -> Arc<Self> {
        Arc::new(Self {
            timeline: Arc::clone(timeline),
            rate: AtomicI64::new(MILLION),
            started: AtomicI64::new(0),
            off: AtomicI64::new(0),
        })
    }

    /// Lets it run fast or slow, from the schedule's beginning on.
    pub(super) fn drift(&self, rate: i64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// The wall clock jumps to so far off the truth.
    pub(super) fn jump(&self, off: i64) {
        self.off.store(off, Ordering::Relaxed);
    }

    /// The machine is started again: its boot time begins anew.
    pub(super) fn reboot(&self) {
        self.started.store(self.timeline.now(), Ordering::Relaxed);
    }

    /// When this clock's boot time will be that.
    pub(super) fn when(&self, boot: Time) -> Time {
        let rate = self.rate.load(Ordering::Relaxed);
        let span = i128::from(boot.0) * i128::from(MILLION) / i128::from(rate) + 1;
        let started = self.started.load(Ordering::Relaxed);
        if rate == MILLION {
            return Time(started.saturating_add(boot.0));
        }
        Time(started.saturating_add(i64::try_from(span).unwrap_or(i64::MAX / 2)))
    }

    fn scaled(&self, span: i64) -> i64 {
        span.saturating_mul(self.rate.load(Ordering::Relaxed)) / MILLION
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Time {
        Time(EPOCH + self.scaled(self.timeline.now()) + self.off.load(Ordering::Relaxed))
    }

    fn boot(&self) -> Time {
        let started = self.started.load(Ordering::Relaxed);
        Time(self.scaled(self.timeline.now() - started))
    }
}

/// Ids that sort by age, as version 7 does. Their last bytes are mixed: where chance is taken from an id, there is some.
#[derive(Debug, Default)]
pub(super) struct SimIds(AtomicU64);

impl IdSource for SimIds {
    fn next(&self) -> Uuid {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^= mixed >> 31;
        Uuid::from_u128(u128::from(number) << 64 | u128::from(mixed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_tells_when_it_will_be_that_late() {
        let timeline = Arc::new(Timeline::default());
        for rate in [MILLION, 950_000, 1_050_000] {
            let clock = SimClock::new(&timeline);
            clock.drift(rate);
            timeline.set(Time(5_000));
            clock.reboot();
            for boot in [0, 1, 999, 1_000_000] {
                timeline.set(clock.when(Time(boot)));
                assert!(clock.boot() >= Time(boot), "{rate} {boot}");
                assert!(clock.boot() <= Time(boot + 2), "{rate} {boot}");
            }
        }
    }
}
