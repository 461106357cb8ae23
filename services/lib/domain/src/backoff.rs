//! Waiting between restarts of a job that ends.

use std::time::Duration;

/// First wait. Kubernetes begins with 10 s; a second is enough to see that a job does not spin.
pub const FIRST: Duration = Duration::from_secs(1);
/// Longest wait, as in Kubernetes: rare enough to cost nothing, often enough that a fixed cause is noticed.
pub const LONGEST: Duration = Duration::from_secs(300);
/// A run of this length counts as healthy and forgets the failures before it.
pub const HEALTHY: Duration = Duration::from_secs(600);

/// How long to wait after the `failures`-th failure in a row (from 1): 1 s, doubling, 5 min at most.
#[must_use]
pub fn wait(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST.saturating_mul(1 << doublings).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let seconds: Vec<u64> = (0..12).map(|n| wait(n).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(wait(u32::MAX), LONGEST);
    }
}
