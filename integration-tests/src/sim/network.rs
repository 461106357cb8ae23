//! The ways that messages take, each in one direction: what is lost there, repeated, late, cut or clogged.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::time::Time;

use super::queue::{Queue, What};

/// A way in one direction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Lane {
    /// From a cluster to the root.
    ToRoot(usize),
    /// From the root to a cluster.
    FromRoot(usize),
    /// From a bridge to its cluster.
    BridgeUp(usize),
    /// From a cluster to a bridge.
    BridgeDown(usize),
    /// From a worker to the broker.
    WorkerUp(usize),
    /// From the broker to a worker.
    WorkerDown(usize),
}

/// How unkind the network is, in percent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Weather {
    pub(super) drop: u32,
    pub(super) repeat: u32,
    pub(super) delay: u32,
    /// The longest delay in milliseconds.
    pub(super) longest: i64,
}

impl Weather {
    pub(super) const CALM: Weather = Weather {
        drop: 0,
        repeat: 0,
        delay: 0,
        longest: 50,
    };
}

/// The network.
pub(super) struct Network {
    pub(super) weather: Weather,
    /// How often each way is cut at the moment.
    cut: BTreeMap<Lane, u32>,
    /// What waits on clogged ways.
    clogged: BTreeMap<Lane, Vec<What>>,
    /// Everything later than this arrives at the very end: an hour late, but not an hour of heartbeats later.
    pub(super) horizon: Time,
    late: Vec<What>,
    /// When the newest message of each way arrives: a calm network keeps their order.
    newest: BTreeMap<[Option<Lane>; 2], Time>,
}

impl Network {
    pub(super) fn new(weather: Weather, horizon: Time) -> Self {
        Self {
            weather,
            cut: BTreeMap::new(),
            clogged: BTreeMap::new(),
            horizon,
            late: Vec::new(),
            newest: BTreeMap::new(),
        }
    }

    /// Whether a way is cut.
    pub(super) fn is_cut(&self, lane: Lane) -> bool {
        self.cut.contains_key(&lane)
    }

    /// Whether a way is neither cut nor clogged.
    pub(super) fn is_open(&self, lane: Lane) -> bool {
        !self.is_cut(lane) && !self.clogged.contains_key(&lane)
    }

    /// Sends a message: it may be lost, come twice, come late and so out of order.
    pub(super) fn send(&mut self, queue: &mut Queue, lanes: [Option<Lane>; 2], what: What) {
        let cut = lanes.iter().flatten().any(|lane| self.is_cut(*lane));
        if cut || queue.chance(self.weather.drop) {
            return;
        }
        let clog = lanes
            .iter()
            .flatten()
            .find(|lane| self.clogged.contains_key(lane));
        if let Some(waiting) = clog.and_then(|lane| self.clogged.get_mut(lane)) {
            waiting.push(what);
            return;
        }
        if queue.chance(self.weather.repeat) {
            self.deliver(queue, lanes, what.clone());
        }
        self.deliver(queue, lanes, what);
    }

    fn deliver(&mut self, queue: &mut Queue, lanes: [Option<Lane>; 2], what: What) {
        let wait = if queue.chance(self.weather.delay) {
            // Each order of magnitude is as likely as the others.
            let longest = [4_000, 60_000, i64::MAX][queue.below(3)].min(self.weather.longest);
            queue.draw(30..longest.max(31))
        } else {
            queue.draw(1..30)
        };
        let mut at = Time(queue.now.0 + wait);
        if self.weather == Weather::CALM {
            let newest = self.newest.entry(lanes).or_insert(at);
            *newest = at.max(*newest);
            at = *newest;
        }
        if at > self.horizon {
            self.late.push(what);
        } else {
            queue.at(at, what);
        }
    }

    pub(super) fn cut(&mut self, lane: Lane) {
        *self.cut.entry(lane).or_default() += 1;
    }

    pub(super) fn mend(&mut self, lane: Lane) {
        if let Some(times) = self.cut.get_mut(&lane) {
            *times -= 1;
            if *times == 0 {
                self.cut.remove(&lane);
            }
        }
    }

    pub(super) fn clog(&mut self, lane: Lane) {
        self.clogged.entry(lane).or_default();
    }

    /// Opens a clogged way: all that waited comes at once, in any order.
    pub(super) fn unclog(&mut self, queue: &mut Queue, lane: Lane) {
        for what in self.clogged.remove(&lane).unwrap_or_default() {
            queue.within(1..50, what);
        }
    }

    /// Nothing is broken any more.
    pub(super) fn heal(&mut self, queue: &mut Queue) {
        self.cut.clear();
        let lanes: BTreeSet<Lane> = self.clogged.keys().copied().collect();
        for lane in lanes {
            self.unclog(queue, lane);
        }
        self.weather = Weather::CALM;
        self.horizon = Time(i64::MAX);
    }

    /// Lets the messages come that are late by up to an hour. Whether there were any.
    pub(super) fn come_late(&mut self, queue: &mut Queue) -> bool {
        let late = std::mem::take(&mut self.late);
        let any = !late.is_empty();
        for what in late {
            queue.within(1..2_000, what);
        }
        any
    }
}
