//! Samples, latest wins: the newest of each worker waits for the next flush, older ones are forgotten.
//!
//! Bounded by the number of workers that speak within one interval. Pure.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use uuid::Uuid;

/// The newest sample of each worker.
#[derive(Debug, Default)]
pub(super) struct Coalescer {
    latest: HashMap<Uuid, Bytes>,
    due: VecDeque<Uuid>,
}

impl Coalescer {
    /// Takes a sample in. It replaces one that waits, also where that is due already.
    pub(super) fn put(&mut self, worker: Uuid, sample: Bytes) {
        self.latest.insert(worker, sample);
    }

    /// The interval has passed: everything that waits is due.
    pub(super) fn flush(&mut self) {
        // Those still due keep their place, so a slow cluster gets every worker's sample in turn.
        let waiting: Vec<_> = {
            let due: std::collections::HashSet<_> = self.due.iter().collect();
            self.latest
                .keys()
                .filter(|worker| !due.contains(worker))
                .copied()
                .collect()
        };
        self.due.extend(waiting);
    }

    /// Something is due.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The next sample that is due.
    pub(super) fn pop(&mut self) -> Option<(Uuid, Bytes)> {
        let worker = self.due.pop_front()?;
        self.latest.remove(&worker).map(|sample| (worker, sample))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(cpu: u8) -> Bytes {
        vec![cpu].into()
    }

    #[test]
    fn the_newest_sample_of_each_worker_goes_once_per_interval() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut coalescer = Coalescer::default();
        for cpu in 0..100 {
            coalescer.put(a, sample(cpu));
        }
        assert!(!coalescer.is_due());
        assert_eq!(coalescer.pop(), None);
        coalescer.flush();
        coalescer.put(a, sample(100));
        coalescer.put(b, sample(7));
        assert_eq!(coalescer.pop(), Some((a, sample(100))));
        assert_eq!(coalescer.pop(), None, "b came after the flush");
        coalescer.flush();
        coalescer.flush();
        assert_eq!(coalescer.pop(), Some((b, sample(7))));
        coalescer.flush();
        assert!(!coalescer.is_due());
    }

    #[test]
    fn no_worker_waits_behind_another_for_ever() {
        let workers: Vec<_> = (0..10).map(Uuid::from_u128).collect();
        let mut coalescer = Coalescer::default();
        let mut seen = std::collections::HashSet::new();
        // One leaves per interval while all ten speak in each.
        for _ in 0..10 {
            for worker in &workers {
                coalescer.put(*worker, sample(0));
            }
            coalescer.flush();
            seen.insert(coalescer.pop().expect("one is due").0);
        }
        assert_eq!(seen.len(), 10);
    }
}
