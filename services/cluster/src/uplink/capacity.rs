//! What the cluster offers its root: sums and, per kind of worker, what is free on single ones, so that a job which is too
//! big for every worker is never sent.

use std::collections::BTreeMap;

use edgeio_domain::{
    child::{Bucket, Capacity, Child},
    ids::ChildId,
    records::Assignment,
    resources::Resources,
};
use edgeio_link::convert;
use edgeio_proto::link::v1;

/// Most buckets of one kind. A few hundred workers with free amounts by chance have some six that no other one covers.
const MOST: usize = 8;

/// The cluster's capacity, from the workers that take work.
pub(super) fn of(
    children: &[Child],
    assignments: &[Assignment],
    includes_revision: u64,
) -> v1::Capacity {
    let mut taken: BTreeMap<ChildId, Resources> = BTreeMap::new();
    for assignment in assignments.iter().filter(|a| a.takes_room()) {
        *taken.entry(assignment.child).or_default() += assignment.demand;
    }
    let mut out = Capacity {
        includes_revision,
        ..Default::default()
    };
    let mut kinds: BTreeMap<(&str, &[String]), Vec<Resources>> = BTreeMap::new();
    for worker in children.iter().filter(|c| c.state.takes_work()) {
        // One that has more than it offers by now takes nothing of what is free on others.
        let left = worker.capacity.allocatable - taken.get(&worker.id).copied().unwrap_or_default();
        let free = left.max(Resources::default());
        out.workers += 1;
        out.allocatable += worker.capacity.allocatable;
        out.free += free;
        for kind in &worker.capacity.buckets {
            let key = (kind.architecture.as_str(), kind.runtimes.as_slice());
            kinds.entry(key).or_default().push(free);
        }
    }
    for ((architecture, runtimes), workers) in kinds {
        out.buckets
            .extend(steps(&workers).into_iter().map(|bucket| Bucket {
                architecture: architecture.to_owned(),
                runtimes: runtimes.to_vec(),
                ..bucket
            }));
    }
    convert::capacity_to_wire(&out)
}

/// One bucket for each worker that no other one covers, and with it those that it covers: `largest` is what one worker
/// has free. The greatest amounts of different workers together would invite what fits on none of them.
fn steps(workers: &[Resources]) -> Vec<Bucket> {
    let mut largest = uncovered(workers);
    while largest.len() > MOST {
        largest = merged(&largest);
    }
    let mut buckets: Vec<Bucket> = largest
        .into_iter()
        .map(|largest| Bucket {
            largest,
            ..Default::default()
        })
        .collect();
    for free in workers {
        if let Some(bucket) = buckets.iter_mut().find(|b| covers(b.largest, *free)) {
            bucket.workers += 1;
            bucket.free += *free;
        }
    }
    buckets.retain(|bucket| bucket.workers > 0);
    buckets
}

/// What no other one covers: falling in CPU, rising in memory.
fn uncovered(workers: &[Resources]) -> Vec<Resources> {
    let mut sorted = workers.to_vec();
    sorted.sort_unstable_by_key(|r| std::cmp::Reverse((r.cpu_millis, r.memory_bytes)));
    let mut steps: Vec<Resources> = Vec::new();
    for free in sorted {
        if steps.last().is_none_or(|last| !covers(*last, free)) {
            steps.push(free);
        }
    }
    steps
}

/// Neighbours by two: a little more is promised than one worker has, and no room is hidden.
fn merged(steps: &[Resources]) -> Vec<Resources> {
    let sum = |pair: &[Resources]| pair.iter().fold(Resources::default(), |a, b| a.max(*b));
    steps.chunks(2).map(sum).collect()
}

fn covers(a: Resources, b: Resources) -> bool {
    a.max(b) == a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(cpu_millis: i64, memory_bytes: i64) -> Resources {
        Resources {
            cpu_millis,
            memory_bytes,
        }
    }

    #[test]
    fn every_worker_is_in_one_bucket_whose_largest_covers_it() {
        let spread: Vec<Resources> = (0..40).map(|n| free(n, 40 - n)).collect();
        let same = vec![free(4, 4); 5];
        let lower = vec![free(0, 0), free(-3, 5), free(2, 2)];
        for workers in [spread, same, lower, Vec::new()] {
            let buckets = steps(&workers);
            assert!(buckets.len() <= MOST, "{}", buckets.len());
            let count: u32 = buckets.iter().map(|b| b.workers).sum();
            assert_eq!(count as usize, workers.len(), "{workers:?}");
            let sum: Resources = buckets.iter().map(|b| b.free).sum();
            assert_eq!(sum, workers.iter().copied().sum());
            for free in &workers {
                assert!(buckets.iter().any(|b| covers(b.largest, *free)), "{free:?}");
            }
        }
    }
}
