//! The pauses of every loop that dials again: exponential with full jitter.
//!
//! Full jitter (a pause is random between zero and the bound) spreads a herd best: ten thousand
//! children that lose one parent at the same instant come back evenly. The crates for backoff add
//! jitter on top of the exponential pause, which keeps the herd together; hence these few lines.
//! Clock and chance are parameters of [`Backoff::next`], so a simulation can drive it.

use std::time::Duration;

/// The bounds of the pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// Bound of the first pause. Over one round trip to a far site, under what a person notices.
    pub base: Duration,
    /// Bound of every later pause. With ten thousand callers it makes some 700 attempts a second
    /// (their mean pause is half of it), which one server on two cores takes; and it is how long a
    /// repaired link stays unused at worst.
    pub cap: Duration,
    /// A connection that lived this long was healthy: the next loss begins with short pauses again.
    /// Twice the cap, so that a parent that accepts and drops everyone is never hammered.
    pub healthy: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(200),
            cap: Duration::from_secs(30),
            healthy: Duration::from_secs(60),
        }
    }
}

/// The state of one loop.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
}

impl Backoff {
    /// A loop that has not failed yet.
    #[must_use]
    pub const fn new(policy: BackoffPolicy) -> Self {
        Self {
            policy,
            failures: 0,
        }
    }

    /// The next pause, after a connection that lived for `lived` (zero if it never stood).
    /// `chance` is from 0 (no pause) to below 1 (almost the bound).
    pub fn next(&mut self, lived: Duration, chance: f64) -> Duration {
        if lived >= self.policy.healthy {
            self.failures = 0;
        }
        // 2^20 times the least base is far above any cap; the shift must not overflow.
        let growth = 1_u32 << self.failures.min(20);
        let bound = self.policy.base.saturating_mul(growth).min(self.policy.cap);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// [`Backoff::next`] by real chance.
    pub fn pause(&mut self, lived: Duration) -> Duration {
        self.next(lived, rand::random())
    }

    /// How many times in a row it failed.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER_STOOD: Duration = Duration::ZERO;

    #[test]
    fn bounds_double_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u128> = (0..10)
            .map(|_| backoff.next(NEVER_STOOD, 1.0).as_millis())
            .collect();
        assert_eq!(
            bounds,
            [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]
        );
        for _ in 0..1000 {
            assert_eq!(
                backoff.next(NEVER_STOOD, 1.0),
                Duration::from_secs(30),
                "no overflow"
            );
        }
    }

    #[test]
    fn jitter_is_full() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(NEVER_STOOD, 0.0), Duration::ZERO);
        assert_eq!(backoff.next(NEVER_STOOD, 0.5), Duration::from_millis(200));
        for _ in 0..1000 {
            assert!(backoff.pause(NEVER_STOOD) <= Duration::from_secs(30));
        }
    }

    #[test]
    fn only_a_healthy_spell_resets() {
        let mut backoff = Backoff::default();
        for _ in 0..6 {
            backoff.next(Duration::from_secs(59), 1.0);
        }
        assert_eq!(
            backoff.failures(),
            6,
            "one that drops everyone within a minute is not healthy"
        );
        assert_eq!(
            backoff.next(Duration::from_secs(60), 1.0),
            Duration::from_millis(200)
        );
    }
}
