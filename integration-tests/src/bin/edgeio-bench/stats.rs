//! Samples in rounds, their quantiles, and how far one series lies above another.
//!
//! Intervals are bootstrapped over rounds and over the samples within: what differs from round to round (caches, clock,
//! neighbours) is in them too. The seed is fixed, so the same samples give the same interval.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// How often samples are drawn again for an interval: 1,000 keep the ends of a 95 % interval to about 1 %.
const RESAMPLES: usize = 1000;

/// Samples, in the rounds in which they were taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    rounds: Vec<Vec<f64>>,
}

impl Series {
    /// Begins a round.
    pub(crate) fn begin(&mut self) {
        self.rounds.push(Vec::new());
    }

    /// Adds a sample to the round that was begun last.
    pub(crate) fn add(&mut self, sample: f64) {
        if self.rounds.is_empty() {
            self.begin();
        }
        if let Some(round) = self.rounds.last_mut() {
            round.push(sample);
        }
    }

    /// Adds the rounds of another series.
    pub(crate) fn append(&mut self, other: Series) {
        self.rounds.extend(other.rounds);
    }

    /// How many samples there are.
    pub(crate) fn n(&self) -> usize {
        self.rounds.iter().map(Vec::len).sum()
    }

    /// The sample below which a share of `q` lies; NaN without samples.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        quantile(&mut self.rounds.concat(), q)
    }

    /// The median.
    pub(crate) fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    fn resampled_median(&self, picked: &[usize], random: &mut StdRng) -> f64 {
        let mut drawn = Vec::with_capacity(self.n());
        for round in picked.iter().filter_map(|index| self.rounds.get(*index)) {
            for _ in 0..round.len() {
                drawn.extend(round.get(random.random_range(0..round.len())));
            }
        }
        quantile(&mut drawn, 0.5)
    }
}

fn quantile(samples: &mut [f64], q: f64) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    // Rounded up: with few samples the 99th percentile is the largest, and says so.
    let at = (last as f64 * q).ceil() as usize;
    samples.get(at.min(last)).copied().unwrap_or(f64::NAN)
}

/// A figure and where it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// How a system's median lies to its floor's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    /// System minus floor.
    pub(crate) over: Interval,
    /// System divided by floor.
    pub(crate) ratio: Interval,
}

/// Compares series that were taken in the same rounds.
pub(crate) fn compare(system: &Series, floor: &Series, seed: u64) -> Comparison {
    let mut random = StdRng::seed_from_u64(seed);
    let rounds = system.rounds.len().min(floor.rounds.len());
    let (mut over, mut ratio) = (Vec::new(), Vec::new());
    for _ in 0..RESAMPLES {
        let picked: Vec<usize> = (0..rounds)
            .map(|_| random.random_range(0..rounds))
            .collect();
        let system = system.resampled_median(&picked, &mut random);
        let floor = floor.resampled_median(&picked, &mut random);
        over.push(system - floor);
        ratio.push(system / floor);
    }
    let interval = |value: f64, drawn: &mut Vec<f64>| Interval {
        value,
        low: quantile(drawn, 0.025),
        high: quantile(drawn, 0.975),
    };
    Comparison {
        over: interval(system.p50() - floor.p50(), &mut over),
        ratio: interval(system.p50() / floor.p50(), &mut ratio),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(rounds: &[&[f64]]) -> Series {
        Series {
            rounds: rounds.iter().map(|round| round.to_vec()).collect(),
        }
    }

    #[test]
    fn quantiles_are_samples() {
        let series = series(&[&[5.0, 1.0], &[3.0, 2.0, 4.0]]);
        assert_eq!(series.n(), 5);
        assert_eq!(series.p50(), 3.0);
        assert_eq!(series.quantile(0.0), 1.0);
        assert_eq!(series.quantile(0.99), 5.0);
        assert!(Series::default().p50().is_nan());
    }

    #[test]
    fn the_interval_holds_the_true_distance_and_is_the_same_each_time() {
        let floor = series(&[&[10.0, 11.0, 12.0], &[10.0, 11.0, 12.0], &[9.0, 11.0, 13.0]]);
        let system = series(&[
            &[20.0, 21.0, 22.0],
            &[20.0, 21.0, 23.0],
            &[19.0, 21.0, 22.0],
        ]);
        let first = compare(&system, &floor, 7);
        assert_eq!(first.over.value, 10.0);
        assert!(first.over.low <= 10.0 && first.over.high >= 10.0);
        assert!(first.over.low > 5.0 && first.over.high < 15.0);
        assert!(first.ratio.low > 1.4 && first.ratio.high < 2.6);
        assert_eq!(compare(&system, &floor, 7).over, first.over);
    }
}
