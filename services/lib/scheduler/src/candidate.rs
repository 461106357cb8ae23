//! A child as a place for work, and the account of what was reserved there.
//!
//! Invariants: `largest` never exceeds `free`; releasing what was reserved restores the amounts exactly.

use edgeio_domain::{
    child::{Bucket, Child, ChildState, EXCLUSIVE_LEASE},
    ids::ChildId,
    resources::Resources,
};

use crate::demand::Demand;

/// A child that could take work.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Candidate {
    /// Its id.
    pub id: ChildId,
    /// As people see it, such as "worker a1".
    pub name: String,
    /// Whether it is heard.
    pub state: ChildState,
    /// Whether it stops exclusive instances by itself when it is cut off. A child of an older version does not know of them.
    pub stops_exclusive: bool,
    /// What can be placed there in all: the measure of what a demand weighs.
    pub allocatable: Resources,
    /// What is free, per kind of worker, before this pool's reservations.
    pub buckets: Vec<Bucket>,
    /// Instances that are there already, each of which weighs something (see [`crate::Score`]).
    pub instances: u32,
}

impl Candidate {
    /// A child as it is recorded; `noun` is "cluster" or "worker", `instances` counts what takes room there.
    #[must_use]
    pub fn new(noun: &str, child: &Child, instances: u32) -> Self {
        Self {
            id: child.id,
            name: format!("{noun} {}", child.display()),
            state: child.state,
            stops_exclusive: child.has(EXCLUSIVE_LEASE),
            allocatable: child.capacity.allocatable,
            buckets: child.capacity.buckets.clone(),
            instances,
        }
    }

    /// Makes the amounts agree with each other, and the order of buckets that of their kinds.
    pub(crate) fn normalized(mut self) -> Self {
        self.buckets.retain(|bucket| bucket.workers > 0);
        for bucket in &mut self.buckets {
            bucket.largest = if bucket.workers == 1 {
                bucket.free
            } else {
                min(bucket.largest, bucket.free)
            };
        }
        self.buckets.sort_by(|a, b| {
            let key = |x: &Bucket| (room(x), x.workers, largest(x));
            (&a.architecture, &a.runtimes)
                .cmp(&(&b.architecture, &b.runtimes))
                .then_with(|| key(a).cmp(&key(b)))
        });
        self
    }

    /// Free in all buckets together.
    pub(crate) fn free(&self) -> Resources {
        self.buckets.iter().map(|bucket| bucket.free).sum()
    }

    /// Whether its version knows what `demand` relies on.
    pub(crate) fn understands(&self, demand: &Demand) -> bool {
        self.stops_exclusive || !demand.exclusive
    }

    /// The bucket that would take `demand`: of those that have room, the one with most left.
    pub(crate) fn bucket_for(&self, demand: &Demand) -> Option<usize> {
        self.freest(|bucket| {
            is_kind(bucket, demand)
                && demand.cpu_fits(&bucket.largest)
                && demand.memory_fits(&bucket.largest)
        })
    }

    /// The bucket that `demand` weighs on when it is there whether it fits or not.
    fn bucket_holding(&self, demand: &Demand) -> Option<usize> {
        self.bucket_for(demand)
            .or_else(|| self.freest(|bucket| is_kind(bucket, demand)))
            .or_else(|| self.freest(|_| true))
    }

    fn freest(&self, admit: impl Fn(&Bucket) -> bool) -> Option<usize> {
        let admitted = self.buckets.iter().enumerate().filter(|(_, b)| admit(b));
        // Of equals the first, which `max_by_key` would not give.
        admitted
            .reduce(|best, next| {
                if room(next.1) > room(best.1) {
                    next
                } else {
                    best
                }
            })
            .map(|(index, _)| index)
    }
}

/// Whether the workers of `bucket` are of a kind that can run `demand`.
pub(crate) fn is_kind(bucket: &Bucket, demand: &Demand) -> bool {
    demand.takes_architecture(&bucket.architecture) && demand.takes_runtimes(&bucket.runtimes)
}

fn room(bucket: &Bucket) -> (i64, i64) {
    (bucket.free.cpu_millis, bucket.free.memory_bytes)
}

fn largest(bucket: &Bucket) -> (i64, i64) {
    (bucket.largest.cpu_millis, bucket.largest.memory_bytes)
}

fn min(a: Resources, b: Resources) -> Resources {
    Resources {
        cpu_millis: a.cpu_millis.min(b.cpu_millis),
        memory_bytes: a.memory_bytes.min(b.memory_bytes),
    }
}

/// A candidate and what the pool reserved on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Account {
    pub(crate) candidate: Candidate,
    /// The largest free piece of each bucket before any reservation, so that a release needs no guess.
    pieces: Vec<Resources>,
    /// What was reserved, with its bucket.
    reserved: Vec<(Option<usize>, Resources)>,
}

impl Account {
    pub(crate) fn new(candidate: Candidate) -> Self {
        let candidate = candidate.normalized();
        Self {
            pieces: candidate.buckets.iter().map(|b| b.largest).collect(),
            reserved: Vec::new(),
            candidate,
        }
    }

    pub(crate) fn reserve(&mut self, demand: &Demand) {
        let index = self.candidate.bucket_holding(demand);
        self.reserved.push((index, demand.resources));
        self.candidate.instances = self.candidate.instances.saturating_add(1);
        self.settle(index, |free| free - demand.resources);
    }

    pub(crate) fn release(&mut self, demand: &Demand) {
        let same = |(_, amount): &(Option<usize>, Resources)| *amount == demand.resources;
        let index = match self.reserved.iter().rposition(same) {
            Some(at) => self.reserved.remove(at).0,
            None => self.candidate.freest(|bucket| is_kind(bucket, demand)),
        };
        self.candidate.instances = self.candidate.instances.saturating_sub(1);
        self.settle(index, |free| free + demand.resources);
    }

    /// Changes what is free in a bucket, and its largest piece with it.
    ///
    /// With one worker the largest free piece is what is free. With more it cannot be known on which one the parent's
    /// reservation will lie, so `largest` shrinks only when less than it is free in all: the child may refuse, and
    /// says so, but room that it has is never hidden.
    fn settle(&mut self, index: Option<usize>, change: impl Fn(Resources) -> Resources) {
        let Some(index) = index else { return };
        let (Some(bucket), Some(piece)) = (
            self.candidate.buckets.get_mut(index),
            self.pieces.get(index),
        ) else {
            return;
        };
        bucket.free = change(bucket.free);
        bucket.largest = if bucket.workers == 1 {
            bucket.free
        } else {
            min(*piece, bucket.free)
        };
    }
}
