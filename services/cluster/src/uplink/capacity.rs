//! What the cluster offers its root: sums and, per kind of worker, the freest one, so that a job which is too big for
//! every worker is never sent.

use std::collections::BTreeMap;

use edgeio_domain::{
    child::{Bucket, Capacity, Child},
    ids::ChildId,
    records::Assignment,
    resources::Resources,
};
use edgeio_link::convert;
use edgeio_proto::link::v1;

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
    let mut buckets: BTreeMap<(String, Vec<String>), Bucket> = BTreeMap::new();
    for worker in children.iter().filter(|c| c.state.takes_work()) {
        let free = worker.capacity.allocatable - taken.get(&worker.id).copied().unwrap_or_default();
        out.workers += 1;
        out.allocatable += worker.capacity.allocatable;
        out.free += free;
        for kind in &worker.capacity.buckets {
            let key = (kind.architecture.clone(), kind.runtimes.clone());
            let bucket = buckets.entry(key).or_insert_with(|| Bucket {
                architecture: kind.architecture.clone(),
                runtimes: kind.runtimes.clone(),
                ..Default::default()
            });
            bucket.workers += 1;
            bucket.free += free;
            bucket.largest = bucket.largest.max(free);
        }
    }
    out.buckets = buckets.into_values().collect();
    convert::capacity_to_wire(&out)
}
