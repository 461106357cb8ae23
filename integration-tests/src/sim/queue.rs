//! What happens next: events by time, and a network that is unkind to messages.

use std::{cmp::Reverse, collections::BinaryHeap};

use edgeio_domain::time::Time;
use edgeio_proto::link::v1;
use edgeio_worker::{node::Op, runtime::RuntimeKind};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::scenario::{Fault, Wish};

/// A part of the system that can crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Root,
    Cluster,
    Worker(usize),
}

/// A way that messages take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Between the cluster and the root.
    Uplink,
    /// Between a worker and the cluster.
    Bus(usize),
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum What {
    RootHears(v1::ChildMessage),
    ClusterHearsRoot(v1::ParentMessage),
    ClusterHears(usize, v1::ChildMessage),
    WorkerHears(usize, v1::ParentMessage),
    /// A tier's loops: engine, push, tick, and for a cluster its uplink.
    Turn(Part),
    /// A worker's timers.
    Tick(usize, u64),
    /// Work on an instance ends. The number is the incarnation of the agent that asked for it.
    Done(usize, u64, Box<Op>),
    Listed(usize, u64, RuntimeKind),
    JobEnds(usize, u64),
    Fault(Fault),
    Restart(Part),
    Heal(Way),
    Wish(Wish),
    /// The check after a power cut: what ran before runs again without contact.
    Revived(usize),
    Converged,
}

struct Entry {
    at: Time,
    number: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// How unkind the network is, in percent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Weather {
    pub(super) drop: u32,
    pub(super) repeat: u32,
    pub(super) delay: u32,
}

/// The queue.
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    numbers: u64,
    pub(super) now: Time,
    pub(super) rng: StdRng,
    pub(super) weather: Weather,
    cut: Vec<Way>,
}

impl Queue {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        Self {
            heap: BinaryHeap::new(),
            numbers: 0,
            now: Time(0),
            rng: StdRng::seed_from_u64(seed),
            weather,
            cut: Vec::new(),
        }
    }

    pub(super) fn at(&mut self, at: Time, what: What) {
        self.numbers += 1;
        self.heap.push(Reverse(Entry {
            at: at.max(self.now),
            number: self.numbers,
            what,
        }));
    }

    /// In so many milliseconds, drawn from a range.
    pub(super) fn within(&mut self, range: std::ops::Range<i64>, what: What) {
        let wait = self.rng.random_range(range);
        self.at(Time(self.now.0 + wait), what);
    }

    pub(super) fn next(&mut self) -> Option<What> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.what)
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Sends a message: it may be lost, come twice, come late and so out of order.
    pub(super) fn send(&mut self, way: Way, what: What) {
        if self.cut.contains(&way) || self.chance(self.weather.drop) {
            return;
        }
        let copies = 1 + u32::from(self.chance(self.weather.repeat));
        for _ in 0..copies {
            let late = self.chance(self.weather.delay);
            let range = if late { 50..4000 } else { 1..30 };
            self.within(range, what.clone());
        }
    }

    pub(super) fn cut(&mut self, way: Way) {
        self.cut.push(way);
    }

    pub(super) fn heal(&mut self, way: Way) {
        if let Some(at) = self.cut.iter().position(|cut| *cut == way) {
            self.cut.remove(at);
        }
    }

    pub(super) fn calm(&mut self) {
        self.cut.clear();
        self.weather = Weather {
            drop: 0,
            repeat: 0,
            delay: 0,
        };
    }
}
