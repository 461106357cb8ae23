//! Starts, ends, and what lies between: registering, dialling, jobs that end, power that is cut, healing.

use std::collections::BTreeSet;

use edgeio_domain::{
    ids::{AssignmentId, AttachId, IdSource as _},
    records::Desired,
    time::Time,
};
use futures::executor::block_on;

use super::{
    check::Broken,
    machine::{Job, runtime},
    network::Lane,
    queue::{Part, Task, What},
    world::{Checked, World},
};

/// After a power cut the machine is alone for so long, in milliseconds.
const ALONE: i64 = 40_000;
/// A job that runs for so long without a failure is started again at once, or after the first backoff.
const SETTLED: i64 = 5_000;

impl World {
    /// A process is gone, with what it had in memory. It is started again.
    pub(super) fn down(&mut self, part: Part) {
        match part {
            Part::Root(root) => {
                self.roots[root].loops = None;
                for cluster in 0..self.clusters.len() {
                    // Some find out by silence only.
                    if self.clusters[cluster].attached == Some(root) && self.queue.chance(70) {
                        let number = self.clusters[cluster].dials;
                        self.queue.within(1..3000, What::HangUp(cluster, number));
                    }
                }
            }
            Part::Cluster(cluster) => {
                self.clusters[cluster].process.loops = None;
                self.clusters[cluster].attached = None;
            }
            Part::Bridge(bridge) => self.bridges[bridge].up = false,
            Part::Worker(worker) => self.machines[worker].node = None,
        }
        self.queue.within(200..8000, What::Restart(part));
    }

    pub(super) fn crash(&mut self, part: Part) -> Checked {
        if let Part::Worker(worker) = part {
            self.machines[worker].incarnation += 1;
            // What was under way may have happened or not.
            let under_way = std::mem::take(&mut self.machines[worker].under_way);
            for op in under_way.into_values() {
                if self.queue.chance(50) {
                    let machine = &mut self.machines[worker];
                    let now = machine.now();
                    let (recorded, _) = machine.act(&op, now);
                    self.check_record(worker, recorded)?;
                }
            }
        }
        self.down(part);
        Ok(())
    }

    pub(super) fn restart(&mut self, part: Part) -> Checked {
        match part {
            Part::Root(root) => {
                if self.roots[root].loops.is_some() {
                    return Ok(());
                }
                let started = self.roots[root].start(&self.root, &self.ids, None);
                if started.is_err() {
                    self.down(part);
                    return Ok(());
                }
                self.wake_all(part);
            }
            Part::Cluster(cluster) => {
                let it = &mut self.clusters[cluster];
                if it.process.loops.is_some() || (it.is_clone && self.healed) {
                    return Ok(());
                }
                if it.start(&self.ids).is_err() {
                    self.down(part);
                    return Ok(());
                }
                self.redial(cluster, 1..1000);
                self.wake_all(part);
            }
            Part::Bridge(bridge) => {
                self.bridges[bridge].up = true;
                let cluster = Part::Cluster(self.bridges[bridge].cluster);
                self.hub(cluster, |loops| block_on(loops.hub.greet()));
            }
            Part::Worker(worker) => {
                let machine = &mut self.machines[worker];
                if machine.node.is_some() || machine.is_off {
                    return Ok(());
                }
                if machine.start(self.queue.now).is_err() {
                    self.down(part);
                    return Ok(());
                }
                let attach = AttachId(self.ids.next());
                self.node(worker, |node, now| {
                    node.connect(attach, now);
                    node.tick(now);
                })?;
            }
        }
        Ok(())
    }

    fn wake_all(&mut self, part: Part) {
        for task in Task::ALL {
            if task != Task::Uplink || matches!(part, Part::Cluster(_)) {
                self.wake_in(part, task, 1..50);
            }
        }
        self.hub(part, |loops| block_on(loops.hub.greet()));
    }

    /// The cluster dials the root, after a pause.
    pub(super) fn redial(&mut self, cluster: usize, range: std::ops::Range<i64>) {
        self.clusters[cluster].dials += 1;
        let number = self.clusters[cluster].dials;
        self.queue.within(range, What::Dial(cluster, number));
    }

    /// Registers at a replica of the root and opens a stream there, as the driver does.
    pub(super) fn dial(&mut self, cluster: usize, number: u64) {
        let it = &self.clusters[cluster];
        if it.dials != number || it.process.loops.is_none() {
            return;
        }
        let up: Vec<usize> = (0..self.roots.len())
            .filter(|r| self.roots[*r].loops.is_some())
            .filter(|r| !self.frozen.contains_key(&Part::Root(*r)))
            .collect();
        let cut = [Lane::ToRoot(cluster), Lane::FromRoot(cluster)];
        if up.is_empty() || cut.into_iter().any(|lane| self.network.is_cut(lane)) {
            return self.redial(cluster, 500..6000);
        }
        let root = up[self.queue.below(up.len())];
        let (id, name) = (it.id, it.name.clone());
        let before = self.root.revision();
        let admitted = self.roots[root].admit(&self.root, &self.ids, id, &name, None);
        if self.root.revision() != before {
            self.changed(Part::Root(root));
        }
        if let Err(error) = admitted {
            self.store_failed(Part::Root(root), &error);
            return self.redial(cluster, 500..6000);
        }
        // The root ends the stream that another one of this identity had.
        let before = self.memory.stream_of(id).filter(|other| *other != cluster);
        if let Some(other) = before {
            let number = self.clusters[other].dials;
            self.queue.within(1..50, What::HangUp(other, number));
        }
        self.memory.open_stream(id, cluster);
        self.clusters[cluster].connect(root, &self.ids);
        self.wake_in(Part::Cluster(cluster), Task::Uplink, 1..5);
    }

    /// The transport to the root is lost; the cluster dials again.
    pub(super) fn hang_up(&mut self, cluster: usize, number: u64) {
        let it = &mut self.clusters[cluster];
        if it.dials != number {
            return;
        }
        it.attached = None;
        if let Some(uplink) = it.process.loops.as_mut().and_then(|l| l.uplink.as_mut()) {
            uplink.disconnect();
        }
        self.redial(cluster, 100..5000);
    }

    /// A worker registers at its cluster under the id that its credential proves.
    pub(super) fn register(&mut self, worker: usize, incarnation: u64) -> Checked {
        let machine = &self.machines[worker];
        if machine.incarnation != incarnation || machine.node.is_none() {
            return Ok(());
        }
        let cluster = machine.cluster;
        let part = Part::Cluster(cluster);
        let cut = [Lane::WorkerUp(worker), Lane::WorkerDown(worker)];
        let away = self.process(part).is_none_or(|p| p.loops.is_none())
            || self.frozen.contains_key(&part)
            || cut.into_iter().any(|lane| self.network.is_cut(lane));
        if !away {
            let (id, name) = (machine.id, machine.name.clone());
            let offered = machine.offered();
            let it = &self.clusters[cluster];
            let before = it.database.revision();
            let admitted = it
                .process
                .admit(&it.database, &self.ids, id, &name, Some(offered));
            if it.database.revision() != before {
                self.changed(part);
            }
            match admitted {
                Ok(()) => {
                    let attach = AttachId(self.ids.next());
                    return self.node(worker, |node, now| node.connect(attach, now));
                }
                Err(error) => self.store_failed(part, &error),
            }
        }
        self.queue
            .within(1000..8000, What::Register(worker, incarnation));
        Ok(())
    }

    pub(super) fn job_ends(&mut self, worker: usize, number: u64) -> Checked {
        let machine = &mut self.machines[worker];
        let alive: Vec<AssignmentId> = machine.alive().collect();
        if alive.is_empty() {
            return Ok(());
        }
        let id = alive[usize::try_from(number % alive.len() as u64).unwrap_or(0)];
        machine.jobs.insert(id, Job::Ended { code: 1 });
        // It may wait for a backoff when the check after a power cut comes.
        machine.revive.remove(&id);
        // The runtime tells of most ends; the others are found by the next listing.
        if self.queue.chance(80) {
            self.node(worker, |node, now| node.hint(&runtime(), Some(id), now))?;
        }
        Ok(())
    }

    /// A worker loses power and network: its jobs end, it comes back alone.
    pub(super) fn power_cut(&mut self, worker: usize) -> Checked {
        let machine = &self.machines[worker];
        let boot = machine.now().boot;
        let settled = |id: &AssignmentId| {
            let Some(Job::Running { since }) = machine.jobs.get(id) else {
                return false;
            };
            let known = machine
                .node
                .as_ref()
                .and_then(|node| node.entries().find(|e| e.order.id == *id));
            boot.0 - since.0 > SETTLED
                && known.is_some_and(|e| {
                    e.order.desired == Desired::Run
                        && e.status.failures == 0
                        && e.status.running_since.is_some()
                })
        };
        // What is exclusive waits for its cluster.
        let exclusive = |id: &AssignmentId| self.memory.exclusive.contains(id);
        let revive = machine
            .alive()
            .filter(|id| settled(id) && !exclusive(id))
            .collect();
        self.machines[worker].revive = revive;
        for lane in [Lane::WorkerUp(worker), Lane::WorkerDown(worker)] {
            self.network.cut(lane);
            let back = Time(self.queue.now.0 + ALONE + 1);
            self.queue.at(back, What::Mend(lane));
        }
        self.crash(Part::Worker(worker))?;
        let machine = &mut self.machines[worker];
        machine.clock.reboot();
        machine.boots += 1;
        for job in machine.jobs.values_mut() {
            *job = Job::Ended { code: 137 };
        }
        let back = Time(self.queue.now.0 + ALONE);
        self.queue.at(back, What::Revived(worker));
        Ok(())
    }

    /// A worker that lost power and was alone since must run again what it ran before.
    pub(super) fn revived(&mut self, worker: usize) -> Checked {
        let expected = std::mem::take(&mut self.machines[worker].revive);
        let machine = &self.machines[worker];
        // Nothing is started that cannot be noted: it comes soon after there is room again.
        if machine
            .full_at
            .is_some_and(|at| self.queue.now.0 - at.0 < SETTLED)
        {
            return Ok(());
        }
        if machine.node.is_none() || self.healed || self.frozen.contains_key(&Part::Worker(worker))
        {
            return Ok(());
        }
        let alive: BTreeSet<AssignmentId> = machine.alive().collect();
        match expected.difference(&alive).next() {
            Some(id) => Err(Broken::new(
                "I7 autonomy",
                format!("worker {worker} does not run {id} after a power cut without network"),
            )),
            None => Ok(()),
        }
    }

    /// Trouble is over: ways are open, disks have room, clones are gone, everything is started.
    pub(super) fn heal(&mut self) -> Checked {
        self.healed = true;
        self.network.heal(&mut self.queue);
        self.frozen.retain(|_, until| *until > self.queue.now);
        self.root.store.on_commit(None);
        self.root.is_full = false;
        for cluster in &mut self.clusters {
            cluster.database.store.on_commit(None);
            cluster.database.is_full = false;
            if cluster.is_clone {
                cluster.process.loops = None;
                cluster.attached = None;
            }
        }
        self.memory.close_clones(&self.clusters);
        for machine in &mut self.machines {
            machine.ledger.fail(0);
            machine.ledger_fails = false;
            if machine.is_clone {
                machine.is_off = true;
                machine.node = None;
                machine.jobs.clear();
            }
        }
        for worker in self.memory.forgers.clone() {
            self.crash(Part::Worker(worker))?;
        }
        for worker in 0..self.machines.len() {
            if self.machines[worker].says != self.machines[worker].room {
                self.machines[worker].says = self.machines[worker].room;
                self.offer(worker)?;
            }
        }
        if self.queue.chance(50) {
            let clocks = self.roots.iter().map(|r| &r.clock);
            let clocks = clocks.chain(self.clusters.iter().map(|c| &c.process.clock));
            for clock in clocks.chain(self.machines.iter().map(|m| &m.clock)) {
                clock.jump(0);
            }
        }
        Ok(())
    }

    /// A worker tells its node what it offers.
    pub(super) fn offer(&mut self, worker: usize) -> Checked {
        let machine = &self.machines[worker];
        let (offers, offered) = (super::machine::Machine::offers(), machine.offered());
        self.node(worker, |node, now| node.offer(offers, &offered, now))
    }
}
