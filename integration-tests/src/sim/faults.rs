//! What breaks, drawn from the seed by the profile's menu.

use std::sync::Arc;

use edgeio_domain::time::Time;
use edgeio_proto::link::v1::{self, child_message};
use edgeio_store::memory::{CommitFault, MemoryStore, Snapshot};

use super::{
    clock::SimClock,
    machine::JOB_CPU,
    network::Lane,
    profile::Profile,
    queue::{Part, What},
    world::{Checked, World},
};

/// The longest cut or pause, in milliseconds.
const LONGEST: i64 = 70_000;
/// Ten years.
const TEN_YEARS: i64 = 10 * 365 * 24 * 3_600_000;

/// What breaks.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Crash(Part),
    /// A commit of a tier breaks off, after so many others: before it is durable, or after.
    Commit(Part, bool, u32),
    /// The next write of a worker's ledger is the last thing that its agent does; it is durable or not.
    Ledger(usize, bool),
    /// So many writes of a worker's ledger fail.
    LedgerFull(usize, u64),
    /// A tier's disk is full for so long.
    Full(Part, i64),
    Cut(Lane, i64),
    Clog(Lane, i64),
    /// The transport of a cluster to the root breaks.
    Reset(usize),
    /// A worker loses power and network: its jobs end, it comes back alone.
    PowerCut(usize),
    /// A process stands still for so long.
    Freeze(Part, i64),
    /// A machine sleeps: nothing of it runs and nothing reaches it.
    Sleep(usize, i64),
    /// A wall clock jumps so far off the truth.
    Jump(Part, i64),
    /// A copy of a database is made.
    Backup(Part),
    /// An older copy of a database is put back.
    Restore(Part),
    /// A database is lost.
    Wipe(Part),
    /// A worker's disk is copied to another machine, which starts.
    CloneWorker(usize),
    CloneCluster(usize),
    /// A message that was overheard comes again.
    Replay,
    /// A worker reports about instances of others.
    Forge(usize),
    /// A worker or a cluster is not heard for so long.
    Away(Part, i64),
    /// A worker offers no more than what it runs, and a little.
    Shrink(usize, i64),
    /// A worker says to have more than it has.
    Lie(usize),
}

/// Draws what breaks while there is trouble.
pub(super) fn draw(world: &mut World) {
    let span = world.trouble.0;
    for _ in 0..world.queue.below(4) {
        let number = world.queue.draw(0..i64::MAX).unsigned_abs();
        let worker = world.queue.below(world.machines.len());
        world.queue.within(0..span, What::JobEnds(worker, number));
    }
    if world.profile == Profile::FaultFree {
        return;
    }
    if world.profile == Profile::Database {
        for part in parts(world) {
            for _ in 0..world.queue.below(3) {
                let fault = Box::new(Fault::Backup(part));
                world.queue.within(0..span, What::Fault(fault));
            }
        }
    }
    super::absence::draw(world);
    for _ in 0..world.queue.draw(2..9) {
        if world.profile == Profile::Partition && world.queue.chance(25) {
            swizzle(world);
            continue;
        }
        let fault = one(world);
        world.queue.within(0..span, What::Fault(Box::new(fault)));
    }
}

/// The tiers, each by one of its processes.
fn parts(world: &World) -> Vec<Part> {
    let clusters = (0..world.clusters.len()).map(Part::Cluster);
    std::iter::once(Part::Root(0)).chain(clusters).collect()
}

/// Some ways are clogged one after the other and opened in another order.
fn swizzle(world: &mut World) {
    let (begin, span) = (world.queue.draw(0..world.trouble.0), LONGEST / 2);
    for _ in 0..world.queue.draw(2..7) {
        let lane = lane(world);
        let fault = Fault::Clog(lane, world.queue.draw(1_000..span));
        let at = Time(begin + world.queue.draw(0..span));
        world.queue.at(at, What::Fault(Box::new(fault)));
    }
}

fn lane(world: &mut World) -> Lane {
    let queue = &mut world.queue;
    let cluster = queue.below(world.clusters.len());
    let bridge = queue.below(world.bridges.len());
    let worker = queue.below(world.machines.len());
    match queue.below(8) {
        0 => Lane::ToRoot(cluster),
        1 => Lane::FromRoot(cluster),
        2 => Lane::BridgeUp(bridge),
        3 => Lane::BridgeDown(bridge),
        4 | 5 => Lane::WorkerUp(worker),
        _ => Lane::WorkerDown(worker),
    }
}

fn any_part(world: &mut World) -> Part {
    let queue = &mut world.queue;
    match queue.below(10) {
        0..3 => Part::Root(queue.below(world.roots.len())),
        3..6 => Part::Cluster(queue.below(world.clusters.len())),
        6 => Part::Bridge(queue.below(world.bridges.len())),
        _ => Part::Worker(queue.below(world.machines.len())),
    }
}

fn tier(world: &mut World) -> Part {
    let all = parts(world);
    all[world.queue.below(all.len())]
}

/// One fault of the profile, or now and then of any kind.
fn one(world: &mut World) -> Fault {
    let worker = world.queue.below(world.machines.len());
    let cluster = world.queue.below(world.clusters.len());
    let profile = if world.queue.chance(15) {
        [Profile::Crash, Profile::Partition][world.queue.below(2)]
    } else {
        world.profile
    };
    let dice = world.queue.below(100);
    let pause = world.queue.draw(500..LONGEST);
    if world.queue.chance(10) {
        return Fault::Shrink(worker, world.queue.draw(0..2));
    }
    match profile {
        Profile::FaultFree | Profile::Lossy => match dice {
            0..50 => Fault::Crash(any_part(world)),
            50..80 => Fault::Reset(cluster),
            _ => Fault::PowerCut(worker),
        },
        Profile::Crash => match dice {
            0..35 => Fault::Crash(any_part(world)),
            35..65 => {
                let (after, skip) = (world.queue.chance(50), world.queue.draw(0..6));
                Fault::Commit(tier(world), after, u32::try_from(skip).unwrap_or(0))
            }
            65..85 => Fault::Ledger(worker, world.queue.chance(50)),
            85..90 => Fault::Reset(cluster),
            _ => Fault::PowerCut(worker),
        },
        Profile::Partition => match dice {
            0..75 => Fault::Cut(lane(world), pause),
            75..90 => Fault::Clog(lane(world), pause),
            _ => Fault::PowerCut(worker),
        },
        Profile::Time => match dice {
            0..35 => Fault::Freeze(any_part(world), pause),
            35..50 => Fault::Sleep(worker, pause),
            50..95 => {
                let reach = [10_000, 3_600_000, TEN_YEARS][world.queue.below(3)];
                let off = world.queue.draw(-reach..reach);
                let part = if world.queue.chance(50) {
                    Part::Worker(worker)
                } else {
                    tier(world)
                };
                Fault::Jump(part, off)
            }
            _ => Fault::PowerCut(worker),
        },
        Profile::Database => match dice {
            0..20 => Fault::Restore(tier(world)),
            20..35 => Fault::Wipe(tier(world)),
            35..55 => Fault::Full(tier(world), pause),
            55..70 => {
                let writes = world.queue.draw(1..40);
                Fault::LedgerFull(worker, writes.unsigned_abs())
            }
            70..90 => {
                let (after, skip) = (world.queue.chance(50), world.queue.draw(0..6));
                Fault::Commit(tier(world), after, u32::try_from(skip).unwrap_or(0))
            }
            _ => Fault::Crash(any_part(world)),
        },
        Profile::Hostile => match dice {
            0..20 => Fault::CloneWorker(worker),
            20..30 => Fault::CloneCluster(cluster),
            30..65 => Fault::Replay,
            65..85 => Fault::Forge(worker),
            85..95 => Fault::Lie(worker),
            _ => Fault::Crash(any_part(world)),
        },
    }
}

impl World {
    pub(super) fn fault(&mut self, fault: Fault) -> Checked {
        if self.healed {
            return Ok(());
        }
        let now = self.queue.now;
        // What is broken for a while is whole again when trouble is over.
        let over = self.trouble.0;
        let until = |pause: i64| Time((now.0 + pause).min(over));
        match fault {
            Fault::Crash(part) => {
                if self.is_up(part) {
                    self.crash(part)?;
                }
            }
            Fault::Commit(part, after, skip) => {
                let (mut left, mut armed) = (skip, true);
                let kind = if after {
                    CommitFault::After
                } else {
                    CommitFault::Before
                };
                self.database(part).store.on_commit(Some(Box::new(move |_| {
                    if left > 0 {
                        left -= 1;
                        return None;
                    }
                    std::mem::take(&mut armed).then_some(kind)
                })));
            }
            Fault::Ledger(worker, durable) => self.machines[worker].ledger.kill(durable),
            Fault::LedgerFull(worker, writes) => {
                self.machines[worker].ledger.fail(writes);
                self.machines[worker].ledger_fails = true;
            }
            Fault::Full(part, pause) => {
                let full = || Some(CommitFault::Full);
                self.database(part)
                    .store
                    .on_commit(Some(Box::new(move |_| full())));
                self.database_mut(part).is_full = true;
                self.queue.at(until(pause), What::Room(part));
            }
            Fault::Cut(lane, pause) => {
                self.network.cut(lane);
                self.queue.at(until(pause), What::Mend(lane));
            }
            Fault::Clog(lane, pause) => {
                self.network.clog(lane);
                self.queue.at(until(pause), What::Unclog(lane));
            }
            Fault::Reset(cluster) => {
                let number = self.clusters[cluster].dials;
                self.hang_up(cluster, number);
            }
            Fault::PowerCut(worker) => self.power_cut(worker)?,
            Fault::Freeze(part, pause) => self.freeze(part, until(pause)),
            Fault::Sleep(worker, pause) => {
                self.freeze(Part::Worker(worker), until(pause));
                for lane in World::ways(Part::Worker(worker)) {
                    self.network.cut(lane);
                    self.queue.at(until(pause), What::Mend(lane));
                }
            }
            Fault::Away(child, pause) => {
                for lane in World::ways(child) {
                    self.network.cut(lane);
                    self.queue.at(until(pause), What::Mend(lane));
                }
            }
            Fault::Shrink(worker, more) => {
                let machine = &mut self.machines[worker];
                let runs = i64::try_from(machine.alive().count()).unwrap_or(0);
                machine.says = machine.says.min((runs + more) * JOB_CPU);
                self.offer(worker)?;
            }
            Fault::Jump(part, off) => {
                self.memory.clocks_jumped = true;
                match part {
                    Part::Worker(worker) => self.machines[worker].clock.jump(off),
                    Part::Root(_) if self.root.is_shared && self.queue.chance(40) => {
                        self.root.clock.jump(off);
                    }
                    part => {
                        if let Some(process) = self.process(part) {
                            process.clock.jump(off);
                        }
                    }
                }
            }
            Fault::Backup(part) => {
                let copy = self.database(part).store.snapshot();
                self.database_mut(part).copies.push(copy);
            }
            Fault::Restore(part) => {
                let count = self.database(part).copies.len();
                if count > 0 {
                    let pick = self.queue.below(count);
                    let copy = self.database(part).copies[pick].clone();
                    self.replace(part, Some(copy));
                }
            }
            Fault::Wipe(part) => self.replace(part, None),
            Fault::CloneWorker(worker) => {
                let clock = SimClock::new(&self.timeline);
                let copy = self.machines[worker].copy(clock);
                if !self.machines[worker].is_off {
                    self.memory.cloned.insert(copy.id);
                    self.machines.push(copy);
                    let number = self.machines.len() - 1;
                    self.queue
                        .within(1..1000, What::Restart(Part::Worker(number)));
                }
            }
            Fault::CloneCluster(cluster) => self.clone_cluster(cluster),
            Fault::Replay => {
                let count = self.overheard.len();
                if count > 0 {
                    let what = self.overheard[self.queue.below(count)].clone();
                    self.queue.within(1..100, what);
                }
            }
            Fault::Forge(worker) => self.forge(worker),
            Fault::Lie(worker) => {
                self.memory.liars.insert(worker);
                self.machines[worker].says = self.machines[worker].room * 2;
                self.offer(worker)?;
            }
        }
        Ok(())
    }

    /// A process stands still until then.
    fn freeze(&mut self, part: Part, until: Time) {
        self.frozen.insert(part, until);
        if let Part::Worker(worker) = part {
            let since = &mut self.machines[worker].acts_since;
            *since = until.max(*since);
        }
    }

    fn is_up(&self, part: Part) -> bool {
        match part {
            Part::Root(_) | Part::Cluster(_) => {
                self.process(part).is_some_and(|p| p.loops.is_some())
            }
            Part::Bridge(bridge) => self.bridges[bridge].up,
            Part::Worker(worker) => self.machines[worker].node.is_some(),
        }
    }

    pub(super) fn database_mut(&mut self, part: Part) -> &mut super::tier::Database {
        match part {
            Part::Cluster(cluster) => &mut self.clusters[cluster].database,
            Part::Root(_) | Part::Bridge(_) | Part::Worker(_) => &mut self.root,
        }
    }

    /// A tier goes on with another database. Its users look what is missing and ask again.
    fn replace(&mut self, part: Part, copy: Option<Snapshot>) {
        let (now, ids) = (self.queue.now, self.ids.clone());
        self.database_mut(part).replace(copy, &ids, now);
        let snapshot = self.database(part).store.snapshot();
        self.memory.lost(part, &snapshot);
        self.memory.ambiguous(&snapshot);
        match part {
            Part::Root(_) => (0..self.roots.len()).for_each(|root| self.down(Part::Root(root))),
            Part::Cluster(_) | Part::Bridge(_) | Part::Worker(_) => self.down(part),
        }
        self.ask_again(part);
    }

    pub(super) fn room(&mut self, part: Part) {
        self.database(part).store.on_commit(None);
        self.database_mut(part).is_full = false;
    }

    fn clone_cluster(&mut self, cluster: usize) {
        let it = &self.clusters[cluster];
        let clock = SimClock::new(&self.timeline);
        let name = it.name.clone();
        let mut copy =
            super::tier::Cluster::new((clock.clone(), self.times), &self.ids, name, Vec::new());
        copy.id = it.id;
        copy.database.own = it.database.own;
        copy.database.store = Arc::new(MemoryStore::from_snapshot(
            it.database.store.snapshot(),
            clock,
        ));
        copy.is_clone = true;
        self.memory.cloned.insert(copy.id);
        self.clusters.push(copy);
        let number = self.clusters.len() - 1;
        self.queue
            .within(1..1000, What::Restart(Part::Cluster(number)));
    }

    /// A worker tells of instances that other workers have.
    fn forge(&mut self, worker: usize) {
        let machine = &self.machines[worker];
        let (id, cluster) = (machine.id, machine.cluster);
        let snapshot = self.clusters[cluster].database.store.snapshot();
        let Some(epoch) = snapshot.child(id).map(|c| c.session_epoch) else {
            return;
        };
        let others: Vec<_> = snapshot.assignments().filter(|a| a.child != id).collect();
        if others.is_empty() {
            return;
        }
        let phases = [
            v1::Phase::Stopped,
            v1::Phase::Running,
            v1::Phase::Failed,
            v1::Phase::Pending,
        ];
        let mut entries = Vec::new();
        for _ in 0..self.queue.draw(1..4) {
            let victim = others[self.queue.below(others.len())];
            let rejection = self.queue.chance(20).then(v1::Rejection::default);
            entries.push(v1::InstanceReport {
                id: victim.id.to_string(),
                slot_id: victim.slot.to_string(),
                generation: victim.generation + self.queue.draw(0..3).unsigned_abs(),
                spec_hash: victim.spec_hash.0.to_vec(),
                phase: phases[self.queue.below(phases.len())].into(),
                rejection,
                ..Default::default()
            });
        }
        self.memory.forgers.insert(worker);
        let report = v1::Report {
            session_epoch: epoch,
            seq: 1_000_000,
            entries,
            full: self.queue.chance(30),
            chunks: 1,
            ..Default::default()
        };
        let message = v1::ChildMessage {
            message: Some(child_message::Message::Report(report)),
        };
        let bridge = self.clusters[cluster].bridges[0];
        let what = What::ClusterHears(bridge, worker, Box::new(message));
        self.queue.within(1..50, what);
    }
}
