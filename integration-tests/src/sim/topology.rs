//! How big a world is: drawn from the seed, small ones often and big ones rarely, so that schedules stay short.

use std::{sync::Arc, time::Duration};

use edgeio_domain::{
    ids::{ChildId, IdSource as _},
    records::Owner,
};
use edgeio_tier::context::Times;

use super::{
    clock::{SimClock, SimIds, Timeline},
    kind::LONGEST_STOP,
    machine::{JOB_CPU, Machine},
    queue::Queue,
    tier::{Bridge, Cluster, Database, Process},
};

/// Most workers in all.
const MOST_WORKERS: usize = 30;

/// The parts of a world, all of them down.
pub(super) struct Topology {
    pub(super) timeline: Arc<Timeline>,
    pub(super) ids: Arc<SimIds>,
    pub(super) root: Database,
    pub(super) roots: Vec<Process>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) bridges: Vec<Bridge>,
    pub(super) machines: Vec<Machine>,
    /// Workers may not have room for all that is wished.
    pub(super) tight: bool,
    /// Times of all tiers.
    pub(super) times: Times,
}

impl Topology {
    pub(super) fn draw(queue: &mut Queue) -> Self {
        let timeline = Arc::new(Timeline::default());
        let ids = Arc::new(SimIds::default());
        let clock = || SimClock::new(&timeline);
        let times = times(queue);
        let roots: Vec<Process> = (0..pick(queue, &[60, 30, 10]))
            .map(|_| Process::new(clock(), times))
            .collect();
        let truth = SimClock::new(&timeline);
        let mut root = Database::new(truth, &ids, Owner::Root, "cluster");
        if roots.len() > 1 {
            root.share(&ids);
        }
        let count = pick(queue, &[50, 35, 15]);
        let tight = queue.chance(20);
        let (mut clusters, mut bridges, mut machines) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..count {
            let first = bridges.len();
            for _ in 0..pick(queue, &[60, 40]) {
                bridges.push(Bridge {
                    cluster: number,
                    up: true,
                });
            }
            let own = (first..bridges.len()).collect();
            let cluster = Cluster::new((clock(), times), &ids, format!("c{number}"), own);
            let left = MOST_WORKERS - machines.len();
            let workers = match queue.below(100) {
                0..80 => 1 + queue.below(3),
                80..97 => 3 + queue.below(4),
                _ => 7 + queue.below(8),
            };
            for worker in 0..workers.min(left) {
                let name = format!("c{number}w{worker}");
                let jobs = if tight { queue.draw(2..6) } else { 60 };
                machines.push(Machine::new(
                    (ChildId(ids.next()), name),
                    (number, cluster.id.0),
                    clock(),
                    jobs * JOB_CPU,
                ));
            }
            clusters.push(cluster);
        }
        Self {
            timeline,
            ids,
            root,
            roots,
            clusters,
            bridges,
            machines,
            tight,
            times,
        }
    }
}

/// Times that are short enough for a replacement, and for a loss, to be reached within a schedule, and long against what a
/// message takes. Messages that are lost make children Suspect now and then, which is wanted here.
fn times(queue: &mut Queue) -> Times {
    let seconds = Duration::from_secs;
    let lease = [11, 15][queue.below(2)];
    // The least that admits every kind of service, or longer.
    let shortest = lease + LONGEST_STOP + LONGEST_STOP / 4 + 2;
    Times {
        report_interval: seconds([5, 8, 8][queue.below(3)]),
        lease: seconds(lease),
        replace_after: seconds([shortest, 45][queue.below(2)]),
        lost_after: seconds([60, 90, 24 * 3600][queue.below(3)]),
        replace_rate: [10, 100][queue.below(2)],
        ..Times::default()
    }
}

/// 1 and more, by shares in percent.
fn pick(queue: &mut Queue, shares: &[usize]) -> usize {
    let mut left = queue.below(100);
    for (index, share) in shares.iter().enumerate() {
        if left < *share {
            return index + 1;
        }
        left -= share;
    }
    shares.len()
}
