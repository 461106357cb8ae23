//! Capacities and amounts between wire and domain.

use edgeio_domain::{
    child::{Bucket, Capacity},
    resources::Resources,
};
use edgeio_proto::link::v1;

/// Reads amounts; absent is nothing, negative is nothing.
#[must_use]
pub fn resources_from_wire(resources: Option<&v1::Resources>) -> Resources {
    resources.map_or_else(Resources::default, |r| Resources {
        cpu_millis: r.cpu_millis.max(0),
        memory_bytes: r.memory_bytes.max(0),
    })
}

/// Writes amounts.
#[must_use]
pub fn resources_to_wire(resources: &Resources) -> v1::Resources {
    v1::Resources {
        cpu_millis: resources.cpu_millis,
        memory_bytes: resources.memory_bytes,
    }
}

/// Reads what a child offers.
#[must_use]
pub fn capacity_from_wire(capacity: &v1::Capacity) -> Capacity {
    let bucket = |b: &v1::Bucket| Bucket {
        architecture: b.architecture.clone(),
        runtimes: b.runtimes.clone(),
        workers: b.workers,
        free: resources_from_wire(b.free.as_ref()),
        largest: resources_from_wire(b.largest.as_ref()),
    };
    Capacity {
        workers: capacity.workers,
        allocatable: resources_from_wire(capacity.allocatable.as_ref()),
        free: resources_from_wire(capacity.free.as_ref()),
        buckets: capacity.buckets.iter().map(bucket).collect(),
        includes_revision: capacity.includes_revision,
    }
}

/// Writes what a child offers.
#[must_use]
pub fn capacity_to_wire(capacity: &Capacity) -> v1::Capacity {
    let bucket = |b: &Bucket| v1::Bucket {
        architecture: b.architecture.clone(),
        runtimes: b.runtimes.clone(),
        workers: b.workers,
        free: Some(resources_to_wire(&b.free)),
        largest: Some(resources_to_wire(&b.largest)),
    };
    v1::Capacity {
        workers: capacity.workers,
        allocatable: Some(resources_to_wire(&capacity.allocatable)),
        free: Some(resources_to_wire(&capacity.free)),
        buckets: capacity.buckets.iter().map(bucket).collect(),
        includes_revision: capacity.includes_revision,
    }
}
