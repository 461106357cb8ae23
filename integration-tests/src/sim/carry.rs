//! Between the production loops and the network: calls go in, what they answer goes out.

use edgeio_domain::{
    ids::{AttachId, IdSource as _},
    time::{Clock as _, Time},
};
use edgeio_proto::link::v1::{self, parent_message};
use edgeio_store::StoreError;
use edgeio_tier::hub::Outbox;
use edgeio_worker::node::{Effect, Node, Now};
use futures::executor::block_on;

use super::{
    check::Broken,
    network::Lane,
    queue::{Part, Task, What},
    tier::{Database, Loops, Process},
    world::{Checked, World, session_of},
};

/// The engine runs at least this often, as in production, in milliseconds.
const ENGINE_PERIOD: i64 = 30_000;
/// Silence is judged about this often. Production does it every second; nothing here hangs on a second.
const TICK: std::ops::Range<i64> = 1_500..2_500;
/// The uplink is asked at least this often.
const UPLINK_PERIOD: i64 = 3_000;
/// How long a loop rests after its store failed, as in production.
const STORE_PAUSE: i64 = 1_000;

impl World {
    pub(super) fn process(&self, part: Part) -> Option<&Process> {
        match part {
            Part::Root(root) => self.roots.get(root),
            Part::Cluster(cluster) => self.clusters.get(cluster).map(|c| &c.process),
            Part::Bridge(_) | Part::Worker(_) => None,
        }
    }

    pub(super) fn process_mut(&mut self, part: Part) -> Option<&mut Process> {
        match part {
            Part::Root(root) => self.roots.get_mut(root),
            Part::Cluster(cluster) => self.clusters.get_mut(cluster).map(|c| &mut c.process),
            Part::Bridge(_) | Part::Worker(_) => None,
        }
    }

    /// The database of a tier's process.
    pub(super) fn database(&self, part: Part) -> &Database {
        match part {
            Part::Cluster(cluster) => &self.clusters[cluster].database,
            Part::Root(_) | Part::Bridge(_) | Part::Worker(_) => &self.root,
        }
    }

    /// Has a loop look again then at the latest.
    pub(super) fn wake_at(&mut self, part: Part, task: Task, at: Time) {
        let Some(process) = self.process_mut(part) else {
            return;
        };
        let wake = &mut process.wake[task as usize];
        if process.loops.is_some() && wake.is_none_or(|before| at < before) {
            *wake = Some(at);
            self.queue.at(at, What::Loop(part, task, at));
        }
    }

    pub(super) fn wake_in(&mut self, part: Part, task: Task, range: std::ops::Range<i64>) {
        let wait = self.queue.draw(range);
        self.wake_at(part, task, Time(self.queue.now.0 + wait));
    }

    /// The loops over a database learn that it changed.
    pub(super) fn changed(&mut self, part: Part) {
        let parts: Vec<Part> = match part {
            Part::Root(_) => (0..self.roots.len()).map(Part::Root).collect(),
            Part::Cluster(_) | Part::Bridge(_) | Part::Worker(_) => vec![part],
        };
        for part in parts {
            for task in [Task::Engine, Task::Push, Task::Uplink] {
                if task != Task::Uplink || matches!(part, Part::Cluster(_)) {
                    self.wake_in(part, task, 1..12);
                }
            }
        }
    }

    /// Calls something of a tier's process; learns whether its database changed, and what its store says.
    pub(super) fn call<T>(
        &mut self,
        part: Part,
        call: impl FnOnce(&mut Loops) -> Result<T, StoreError>,
    ) -> Option<T> {
        let before = self.database(part).revision();
        let loops = self.process_mut(part)?.loops.as_mut()?;
        let answer = call(loops);
        if self.database(part).revision() != before {
            self.changed(part);
        }
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.store_failed(part, &error);
                None
            }
        }
    }

    /// Calls a hub and sends what it answers.
    pub(super) fn hub(
        &mut self,
        part: Part,
        call: impl FnOnce(&mut Loops) -> Result<Outbox, StoreError>,
    ) {
        if let Some(outbox) = self.call(part, call) {
            self.send_down(part, outbox);
        }
    }

    /// A full disk is waited for. A commit that broke off has often taken the process along.
    pub(super) fn store_failed(&mut self, part: Part, error: &StoreError) {
        // A commit that failed may be durable all the same. Whoever shares the database polls it, and finds that.
        self.database(part).store.poll();
        if self.database(part).is_shared {
            self.changed(part);
        }
        let full = matches!(error, StoreError::Full { .. });
        if !full && self.queue.chance(60) {
            return self.down(part);
        }
        for task in Task::ALL {
            self.wake_in(part, task, STORE_PAUSE..STORE_PAUSE + 100);
        }
    }

    fn send_down(&mut self, part: Part, outbox: Outbox) {
        for (child, message) in outbox {
            let recorded = matches!(message.message, Some(parent_message::Message::Ack(_)));
            let message = Box::new(message);
            match part {
                Part::Root(root) => {
                    let Some(cluster) = self.memory.stream_of(child) else {
                        continue;
                    };
                    if recorded {
                        self.clusters[cluster].heard_at = self.queue.now;
                        self.memory.recorded(part, child, self.queue.now);
                    }
                    if self.clusters[cluster].attached == Some(root) {
                        let lanes = [Some(Lane::FromRoot(cluster)), None];
                        let what = What::ClusterHearsRoot(cluster, root, message);
                        self.network.send(&mut self.queue, lanes, what);
                    }
                }
                Part::Cluster(cluster) => {
                    let bridge = self.bridge_for(cluster, child);
                    // Whoever has the id has the subject: a clone hears what its original hears.
                    for worker in 0..self.machines.len() {
                        let machine = &mut self.machines[worker];
                        if machine.id != child || machine.is_off {
                            continue;
                        }
                        if recorded {
                            machine.heard_at = self.queue.now;
                            self.memory.recorded(part, child, self.queue.now);
                        }
                        let Some(bridge) = bridge else { continue };
                        let lanes = [
                            Some(Lane::BridgeDown(bridge)),
                            Some(Lane::WorkerDown(worker)),
                        ];
                        let what = What::WorkerHears(worker, message.clone());
                        self.overhear(|| what.clone());
                        self.network.send(&mut self.queue, lanes, what);
                    }
                }
                Part::Bridge(_) | Part::Worker(_) => {}
            }
        }
    }

    /// The bridge by which a worker was heard last, or any that is up.
    fn bridge_for(&self, cluster: usize, child: edgeio_domain::ids::ChildId) -> Option<usize> {
        let is_up = |bridge: &usize| self.bridges[*bridge].up;
        let heard = self.heard_by.get(&child).copied();
        heard
            .filter(|bridge| self.bridges[*bridge].cluster == cluster)
            .filter(is_up)
            .or_else(|| self.clusters[cluster].bridges.iter().copied().find(is_up))
    }

    pub(super) fn root_hears(
        &mut self,
        root: usize,
        cluster: usize,
        message: v1::ChildMessage,
    ) -> Checked {
        let (part, id) = (Part::Root(root), self.clusters[cluster].id);
        self.hear(part, id, message)
    }

    pub(super) fn cluster_hears(
        &mut self,
        bridge: usize,
        worker: usize,
        message: v1::ChildMessage,
    ) -> Checked {
        if !self.bridges[bridge].up {
            return Ok(());
        }
        let (part, id) = (
            Part::Cluster(self.bridges[bridge].cluster),
            self.machines[worker].id,
        );
        self.heard_by.insert(id, bridge);
        self.hear(part, id, message)
    }

    /// A tier takes what a child says. What is of another session must change nothing, and nothing changes what is
    /// assigned to others.
    fn hear(
        &mut self,
        part: Part,
        child: edgeio_domain::ids::ChildId,
        message: v1::ChildMessage,
    ) -> Checked {
        let epoch = session_of(&message);
        let store = self.database(part).store.clone();
        let before = store.snapshot().revision();
        let known = store.snapshot().child(child).map(|c| c.session_epoch);
        if self.serves(part) {
            self.memory.word(part, self.queue.now, self.times.lease);
        }
        self.hub(part, |loops| {
            block_on(loops.hub.receive(vec![(child, message)]))
        });
        let after = store.snapshot().revision();
        if epoch > 0 && known != Some(epoch) && before != after {
            let what =
                format!("a report of session {epoch} of {child} was recorded, it has {known:?}");
            return Err(Broken::new("I13 status truth", what));
        }
        self.watch_tier(part, Some(child))
    }

    pub(super) fn cluster_hears_root(
        &mut self,
        cluster: usize,
        root: usize,
        message: v1::ParentMessage,
    ) {
        if self.clusters[cluster].attached.is_none() {
            return;
        }
        let part = Part::Cluster(cluster);
        let asked = self.call(part, |loops| match &mut loops.uplink {
            Some(uplink) => block_on(uplink.receive(message)).map(Some),
            None => Ok(None),
        });
        let Some(Some(asked)) = asked else { return };
        if asked.register && self.clusters[cluster].attached == Some(root) {
            let number = self.clusters[cluster].dials;
            self.hang_up(cluster, number);
        }
        self.wake_in(part, Task::Uplink, 1..5);
    }

    pub(super) fn run_loop(&mut self, part: Part, task: Task, at: Time) -> Checked {
        let Some(process) = self.process_mut(part) else {
            return Ok(());
        };
        if process.loops.is_none() || process.wake[task as usize] != Some(at) {
            return Ok(());
        }
        process.wake[task as usize] = None;
        let now = self.queue.now;
        match task {
            Task::Engine => {
                let outcome = self.call(part, |loops| {
                    block_on(loops.engine.run_once())
                        .map_err(|edgeio_tier::engine::EngineError::Store(error)| error)
                });
                let within = outcome.as_ref().and_then(|outcome| outcome.within);
                if let Some(outcome) = &outcome {
                    self.check_fence(part, outcome)?;
                }
                let again = outcome.and_then(|outcome| outcome.again);
                let wall = self.process(part).map_or(Time(0), |p| p.clock.wall());
                let wait = again.map_or(ENGINE_PERIOD, |at| at.0.saturating_sub(wall.0));
                let lease = within.map_or(ENGINE_PERIOD, |wait| {
                    i64::try_from(wait.as_millis()).unwrap_or(ENGINE_PERIOD)
                });
                let wait = wait.min(lease).clamp(10, ENGINE_PERIOD);
                self.wake_at(part, task, Time(now.0 + wait));
            }
            Task::Push => self.hub(part, |loops| block_on(loops.hub.push())),
            Task::Tick => {
                self.hub(part, |loops| block_on(loops.hub.tick()));
                self.wake_in(part, task, TICK);
            }
            Task::Uplink => {
                if let Part::Cluster(cluster) = part {
                    self.run_uplink(cluster);
                }
            }
        }
        Ok(())
    }

    fn run_uplink(&mut self, cluster: usize) {
        let part = Part::Cluster(cluster);
        let polled = self.call(part, |loops| {
            let Some(uplink) = &mut loops.uplink else {
                return Ok((Vec::new(), false, None));
            };
            let messages = block_on(uplink.poll())?;
            Ok((messages, uplink.is_silent(), uplink.due()))
        });
        let Some((messages, silent, due)) = polled else {
            return;
        };
        if let Some(root) = self.clusters[cluster].attached {
            for message in messages {
                let what = What::RootHears(root, cluster, Box::new(message));
                self.overhear(|| what.clone());
                let lanes = [Some(Lane::ToRoot(cluster)), None];
                self.network.send(&mut self.queue, lanes, what);
            }
        }
        if silent {
            let number = self.clusters[cluster].dials;
            self.hang_up(cluster, number);
        }
        let now = self.queue.now.0;
        let clock = &self.clusters[cluster].process.clock;
        let due = due.map_or(i64::MAX, |due| clock.when(due).0);
        self.wake_at(
            part,
            Task::Uplink,
            Time(due.clamp(now + 1, now + UPLINK_PERIOD)),
        );
    }

    pub(super) fn worker_hears(&mut self, worker: usize, message: v1::ParentMessage) -> Checked {
        self.node(worker, |node, now| {
            // A ledger that cannot be written is tried again; one that died with its process is seen to by the caller.
            let _ = node.receive(message, now);
        })
    }

    /// Calls a worker's node and does what it asks for, unless it died at a write of its ledger.
    pub(super) fn node(&mut self, worker: usize, call: impl FnOnce(&mut Node, Now)) -> Checked {
        let machine = &mut self.machines[worker];
        let now = machine.now();
        let Some(node) = &mut machine.node else {
            return Ok(());
        };
        call(node, now);
        loop {
            let machine = &mut self.machines[worker];
            if machine.ledger.fails() {
                machine.full_at = Some(self.queue.now);
            }
            if machine.ledger.was_killed() {
                return self.crash(Part::Worker(worker));
            }
            let Some(node) = &mut machine.node else {
                return Ok(());
            };
            let effects = node.effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.effect(worker, effect, now);
            }
        }
        let machine = &mut self.machines[worker];
        let due = machine.node.as_ref().and_then(|node| node.due(now));
        if let Some(due) = due {
            let at = machine.clock.when(due).max(Time(self.queue.now.0 + 1));
            if machine
                .tick
                .is_none_or(|tick| at < tick || tick < self.queue.now)
            {
                machine.tick = Some(at);
                let incarnation = machine.incarnation;
                self.queue.at(at, What::Tick(worker, incarnation, at));
            }
        }
        self.check_accepted_by_worker(worker)
    }

    fn effect(&mut self, worker: usize, effect: Effect, now: Now) {
        let incarnation = self.machines[worker].incarnation;
        match effect {
            Effect::Send(message) => self.send_up(worker, message),
            Effect::Run(op) => {
                self.machines[worker].under_way.insert(op.id, op.clone());
                self.queue
                    .within(1..300, What::Done(worker, incarnation, Box::new(op)));
            }
            Effect::List(runtime) => self
                .queue
                .within(1..50, What::Listed(worker, incarnation, runtime)),
            Effect::Register(_) => self
                .queue
                .within(1..200, What::Register(worker, incarnation)),
            Effect::Reattach => {
                let attach = AttachId(self.ids.next());
                if let Some(node) = &mut self.machines[worker].node {
                    node.connect(attach, now);
                }
            }
            Effect::Cancel(_) | Effect::Incompatible(_) => {}
        }
    }

    /// Through one of the bridges: they share the subject.
    fn send_up(&mut self, worker: usize, message: v1::ChildMessage) {
        let machine = &self.machines[worker];
        let bridges = &self.clusters[machine.cluster].bridges;
        let is_up = |bridge: &usize| self.bridges[*bridge].up;
        let up: Vec<usize> = bridges.iter().copied().filter(is_up).collect();
        if up.is_empty() {
            return;
        }
        let bridge = up[self.queue.below(up.len())];
        let what = What::ClusterHears(bridge, worker, Box::new(message));
        self.overhear(|| what.clone());
        let lanes = [Some(Lane::WorkerUp(worker)), Some(Lane::BridgeUp(bridge))];
        self.network.send(&mut self.queue, lanes, what);
    }
}
