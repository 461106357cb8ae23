//! Lines of a log that others could write at will: counted each time, told now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One line of a kind in this time: enough to be found in a log, too little to fill it.
const QUIET: Duration = Duration::from_secs(10);

/// One kind of line, such as a `static` beside the place that writes it.
#[derive(Debug)]
pub struct Seldom {
    total: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Seldom {
    /// Nothing was counted yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "made as a constant only")]
    pub const fn new() -> Self {
        Self {
            total: AtomicU64::new(0),
            told: Mutex::new(None),
        }
    }

    /// Counts one more, and answers the number of all so far when it is time to tell it.
    pub fn again(&self) -> Option<u64> {
        let total = self.total.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = told.is_none_or(|last| now.duration_since(last) >= QUIET);
        if due {
            *told = Some(now);
        }
        due.then_some(total)
    }
}

/// Warns of what others could make happen at will: the first time, and then every 10 s with the number of all so far as `total`.
#[macro_export]
macro_rules! warn_seldom {
    ($($words:tt)+) => {{
        static SELDOM: $crate::telemetry::Seldom = $crate::telemetry::Seldom::new();
        if let Some(total) = SELDOM.again() {
            ::tracing::warn!(total, $($words)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_a_flood_is_not() {
        let seldom = Seldom::new();
        assert_eq!(seldom.again(), Some(1));
        let told = (0..1000).filter(|_| seldom.again().is_some()).count();
        // Unless the machine stood still in between.
        assert!(told <= 2, "{told}");
        assert_eq!(seldom.total.load(Ordering::Relaxed), 1001);
    }
}
