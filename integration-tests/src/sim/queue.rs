//! What happens next: events by time, and the one source of chance.

use std::{cmp::Reverse, collections::BinaryHeap, ops::Range};

use edgeio_domain::time::Time;
use edgeio_proto::link::v1;
use edgeio_worker::{node::Op, runtime::RuntimeKind};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{faults::Fault, network::Lane, operators::Order};

/// A part of the system that can crash or freeze.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Part {
    /// A replica of the root.
    Root(usize),
    Cluster(usize),
    Bridge(usize),
    Worker(usize),
}

/// A loop of a tier's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Task {
    Engine,
    Push,
    Tick,
    Uplink,
}

impl Task {
    pub(super) const ALL: [Task; 4] = [Task::Engine, Task::Push, Task::Tick, Task::Uplink];
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A replica of the root hears a cluster.
    RootHears(usize, usize, Box<v1::ChildMessage>),
    /// A cluster hears a replica of the root.
    ClusterHearsRoot(usize, usize, Box<v1::ParentMessage>),
    /// A cluster hears a worker through a bridge.
    ClusterHears(usize, usize, Box<v1::ChildMessage>),
    WorkerHears(usize, Box<v1::ParentMessage>),
    /// A loop of a process has something to do. The time is the one for which it was put here.
    Loop(Part, Task, Time),
    /// A worker's timers. The number is the incarnation of its agent, as in the next two.
    Tick(usize, u64, Time),
    /// Work on an instance ends.
    Done(usize, u64, Box<Op>),
    Listed(usize, u64, RuntimeKind),
    /// A worker registers at its cluster.
    Register(usize, u64),
    /// A cluster dials the root. The number is that of the attempt.
    Dial(usize, u64),
    /// A cluster's transport to the root breaks, and it notices.
    HangUp(usize, u64),
    JobEnds(usize, u64),
    Fault(Box<Fault>),
    Restart(Part),
    Mend(Lane),
    Unclog(Lane),
    /// A disk has room again.
    Room(Part),
    /// A user or an operator does something.
    Act(usize),
    Order(Order),
    /// The check after a power cut: what ran before runs again without contact.
    Revived(usize),
    /// Trouble is over.
    Heal,
    /// Is everything as wished?
    Verify(u32),
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

/// The queue.
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    numbers: u64,
    pub(super) now: Time,
    pub(super) rng: StdRng,
}

impl Queue {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            heap: BinaryHeap::new(),
            numbers: 0,
            now: Time(0),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Draws anew from here on: what was drawn so far is the same for all `salt`s.
    pub(super) fn fork(&mut self, salt: u64) {
        let seed = self.rng.random::<u64>();
        self.rng = StdRng::seed_from_u64(seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
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
    pub(super) fn within(&mut self, range: Range<i64>, what: What) {
        let wait = self.draw(range);
        self.at(Time(self.now.0 + wait), what);
    }

    pub(super) fn next(&mut self) -> Option<What> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.what)
    }

    pub(super) fn draw(&mut self, range: Range<i64>) -> i64 {
        self.rng.random_range(range)
    }

    /// A number below `end`; 0 if there is none.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end.max(1))
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.rng.random_range(0..100) < percent
    }
}
