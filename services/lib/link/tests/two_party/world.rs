//! One schedule: a queue of events under virtual time, chances from a seed, and the checks.

use std::{collections::BTreeMap, ops::Range};

use edgeio_domain::{
    ids::{AssignmentId, AttachId, SlotId, SpecHash},
    lifecycle::Phase,
    records::Desired,
    time::Time,
};
use edgeio_proto::link::v1::{self, child_message, parent_message::Message};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use crate::{
    child_side::{ChildSide, Crash, Disk, Known},
    parent_side::{Break, Db, Down, ParentSide, Wish},
    tell,
};

/// Ids and generations that a message brings, in all its parts together.
pub(crate) type Expected = BTreeMap<AssignmentId, u64>;

/// Wishes and faults come in this time, in milliseconds.
const TROUBLE: i64 = 90_000;
/// Then both must agree: the longest pause of a session, and some heartbeats.
const AGREED: i64 = TROUBLE + 150_000;
/// And say nothing more than heartbeats.
const QUIET: i64 = AGREED + 100_000;

pub(crate) fn id(next: &mut u64) -> AssignmentId {
    *next += 1;
    AssignmentId(Uuid::from_u128(u128::from(*next)))
}

/// Some specs, small and as large as they may be.
#[derive(Clone)]
pub(crate) struct Specs(std::sync::Arc<Vec<(SpecHash, Vec<u8>)>>);

impl Specs {
    /// They are the same in every schedule.
    pub(crate) fn all() -> Self {
        static SPECS: std::sync::LazyLock<Specs> = std::sync::LazyLock::new(Specs::new);
        SPECS.clone()
    }

    fn new() -> Self {
        let sizes = [20, 20, 200, 1_000, 48 * 1024, 48 * 1024];
        let spec = |(index, size): (usize, usize)| {
            let body = vec![u8::try_from(index).unwrap(); size];
            (SpecHash::of(&body), body)
        };
        Self(std::sync::Arc::new(
            sizes.into_iter().enumerate().map(spec).collect(),
        ))
    }

    pub(crate) fn hash(&self, spec: usize) -> SpecHash {
        self.0[spec].0
    }

    pub(crate) fn find(&self, hash: &[u8]) -> Option<usize> {
        self.0.iter().position(|(known, _)| known.0 == hash)
    }

    pub(crate) fn wire(&self, spec: usize) -> v1::Spec {
        v1::Spec {
            hash: self.0[spec].0.0.to_vec(),
            body: self.0[spec].1.clone(),
        }
    }
}

/// What happened, so that a simulation in which nothing happens is found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Tally {
    lost: u64,
    repeated: u64,
    in_parts: u64,
    accepted: u64,
    refused: u64,
    orphaned: u64,
    restarts: u64,
    losses: u64,
    restores: u64,
    events: u64,
}

impl Tally {
    pub(crate) fn names(&self) -> [(&'static str, u64); 10] {
        [
            ("a loss", self.lost),
            ("a repetition", self.repeated),
            ("a message in parts", self.in_parts),
            ("an acceptance", self.accepted),
            ("a refusal", self.refused),
            ("an orphan", self.orphaned),
            ("a restart", self.restarts),
            ("a lost database", self.losses),
            ("a restored database", self.restores),
            ("an event", self.events),
        ]
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.in_parts += other.in_parts;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.orphaned += other.orphaned;
        self.restarts += other.restarts;
        self.losses += other.losses;
        self.restores += other.restores;
        self.events += other.events;
    }
}

pub(crate) enum What {
    Up(Box<v1::ChildMessage>),
    Down(Box<Down>),
    ParentTurn,
    ChildTurn,
    Work,
    Wish,
    Fault(Fault),
    Attach,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    RestartParent,
    RestartChild,
    CutLine,
    Blackout,
    LoseDatabase,
    CopyDatabase,
    RestoreDatabase,
}

pub(crate) struct World {
    rng: StdRng,
    now: i64,
    queue: BTreeMap<(i64, u64), What>,
    serial: u64,
    next: u64,
    specs: Specs,
    parent: ParentSide,
    child: ChildSide,
    copy: Option<Db>,
    dark_until: i64,
    turn: Option<i64>,
    many: bool,
    spec_kinds: usize,
    tally: Tally,
    /// What was said after both had agreed.
    noise: Vec<String>,
    /// What happened, line by line, where that is asked for.
    trace: Option<Vec<String>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        // Some have specs, or as many orders, that do not fit into one message.
        let many = rng.random_ratio(1, 50);
        let spec_kinds = if rng.random_ratio(1, 10) { 6 } else { 4 };
        let specs = Specs::all();
        let mut world = Self {
            rng,
            now: 0,
            queue: BTreeMap::new(),
            serial: 0,
            next: 0,
            parent: ParentSide::new(Db::new(1_000_000), specs.clone()),
            specs,
            child: ChildSide::new(Disk::default(), Known::default()),
            copy: None,
            dark_until: 0,
            turn: None,
            many,
            spec_kinds,
            tally: Tally::default(),
            noise: Vec::new(),
            trace: None,
        };
        world.draw();
        world
    }

    /// Draws the schedule of wishes and faults.
    fn draw(&mut self) {
        self.parent.register();
        self.at(0, What::Attach);
        self.at(0, What::ParentTurn);
        self.at(0, What::Work);
        for _ in 0..self.rng.random_range(5..25) {
            self.sometime(What::Wish);
        }
        let faults = [
            Fault::RestartParent,
            Fault::RestartChild,
            Fault::CutLine,
            Fault::Blackout,
            Fault::LoseDatabase,
        ];
        for _ in 0..self.rng.random_range(0..6) {
            let fault = faults[self.rng.random_range(0..faults.len())];
            self.sometime(What::Fault(fault));
        }
        if self.rng.random_ratio(1, 3) {
            let copied = self.rng.random_range(0..TROUBLE / 2);
            let restored = copied + self.rng.random_range(500..20_000);
            self.at(copied, What::Fault(Fault::CopyDatabase));
            self.at(restored, What::Fault(Fault::RestoreDatabase));
            // Users wish on, so that the copy and what it lost differ, and soon other things under the same numbers.
            for around in [copied, restored] {
                for _ in 0..4 {
                    let time = around + self.rng.random_range(0..2_000);
                    self.at(time, What::Wish);
                }
            }
        }
    }

    fn at(&mut self, time: i64, what: What) {
        self.serial += 1;
        self.queue.insert((time, self.serial), what);
    }

    fn sometime(&mut self, what: What) {
        let time = self.rng.random_range(0..TROUBLE);
        self.at(time, what);
    }

    fn calm(&self) -> bool {
        self.now >= TROUBLE
    }

    /// Puts a message on its way.
    fn send(&mut self, what: impl Fn() -> What) {
        if self.calm() {
            let time = self.within(1..20);
            self.at(time, what());
            return;
        }
        if self.now < self.dark_until || self.rng.random_ratio(1, 8) {
            self.tally.lost += 1;
            return;
        }
        let copies = if self.rng.random_ratio(1, 8) { 2 } else { 1 };
        self.tally.repeated += copies - 1;
        for _ in 0..copies {
            let late = self.rng.random_ratio(1, 6);
            let time = self.within(if late { 20..8_000 } else { 1..20 });
            self.at(time, what());
        }
    }

    fn within(&mut self, range: Range<i64>) -> i64 {
        self.now + self.rng.random_range(range)
    }

    fn down(&mut self, messages: Vec<Down>) {
        for message in messages {
            self.tally.in_parts += u64::from(tell::parts(&message.0) > 1);
            self.listen_down(&message.0);
            self.send(|| What::Down(Box::new(message.clone())));
        }
    }

    /// Lets the child say what it has to say, and come back when it has more.
    fn turn_child(&mut self) {
        let now = Time(self.now);
        if self.child.child.is_silent(now) {
            self.attach();
        }
        for message in self.child.poll(now) {
            self.listen_up(&message);
            self.send(|| What::Up(Box::new(message.clone())));
        }
        // One turn is in the queue at a time; an earlier one makes the later one void.
        if let Some(due) = self.child.child.due(now) {
            let due = due.0.max(self.now + 1);
            if self.turn.is_none_or(|turn| due < turn || turn <= self.now) {
                self.turn = Some(due);
                self.at(due, What::ChildTurn);
            }
        }
    }

    fn attach(&mut self) {
        let attach = AttachId(id(&mut self.next).0);
        self.child.connect(attach, Time(self.now));
    }

    /// Runs the schedule of a seed.
    pub(crate) fn run(seed: u64) -> Result<Tally, String> {
        World::new(seed).play()
    }

    /// The last events of a schedule that fails.
    pub(crate) fn story(seed: u64) -> String {
        let mut world = World::new(seed);
        world.trace = Some(Vec::new());
        let _ = world.play();
        let lines = world.trace.unwrap_or_default();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn play(&mut self) -> Result<Tally, String> {
        let mut agreed = false;
        while let Some(((time, _), what)) = self.queue.pop_first() {
            if !agreed && time >= AGREED {
                agreed = true;
                self.check()?;
            }
            if time >= QUIET {
                break;
            }
            self.now = time;
            self.tally.events += 1;
            if self.tally.events > 200_000 {
                return Err("it never comes to rest".to_owned());
            }
            if let Some(trace) = &mut self.trace {
                trace.extend(tell::event(time, &what));
            }
            self.step(what)?;
        }
        self.check()?;
        match self.noise.first() {
            None => Ok(self.tally.clone()),
            Some(first) => Err(format!(
                "{} messages too many after both agreed, the first: {first}",
                self.noise.len()
            )),
        }
    }

    fn step(&mut self, what: What) -> Result<(), String> {
        let now = Time(self.now);
        match what {
            What::Up(message) => {
                let trouble = !self.calm() && self.rng.random_ratio(1, 60);
                let broken = trouble.then(|| {
                    if self.rng.random() {
                        Break::Before
                    } else {
                        Break::After
                    }
                });
                let answers = self.parent.receive(*message, now, broken);
                self.child
                    .known
                    .ends
                    .extend(self.parent.ended.iter().copied());
                self.plan();
                self.down(answers);
                self.turn_parent();
            }
            What::Down(message) => self.hear(*message)?,
            What::ParentTurn => {
                self.turn_parent();
                self.at(self.now + 1000, What::ParentTurn);
            }
            What::ChildTurn if self.turn == Some(self.now) => self.turn_child(),
            What::ChildTurn => {}
            What::Work => {
                let mishap = !self.calm() && self.rng.random_ratio(1, 4);
                let mishap = mishap.then(|| self.rng.random_range(0..10));
                self.child.work(mishap);
                if !self.calm() && self.rng.random_ratio(1, 20) {
                    self.child.offers_something_else();
                }
                self.turn_child();
                let time = self.within(200..3_000);
                self.at(time, What::Work);
            }
            What::Wish => self.wish(),
            What::Fault(fault) => self.fault(fault),
            What::Attach => {
                self.attach();
                self.turn_child();
            }
        }
        Ok(())
    }

    fn hear(&mut self, (message, expected): Down) -> Result<(), String> {
        let now = Time(self.now);
        let trouble = !self.calm() && self.rng.random_ratio(1, 60);
        let crash = trouble.then(|| {
            if self.rng.random() {
                Crash::Before
            } else {
                Crash::After
            }
        });
        let heard = self.child.hear(message, &expected, now, crash)?;
        self.tally.accepted += u64::from(heard.accepted);
        self.tally.refused += u64::from(heard.refused);
        self.tally.orphaned += u64::from(heard.orphaned);
        if heard.crashed {
            self.tally.restarts += 1;
            self.child.restart();
        }
        if heard.register {
            self.parent.register();
        }
        if heard.crashed || heard.register {
            let time = self.within(1..500);
            self.at(time, What::Attach);
            self.child.child.disconnect();
        }
        self.turn_child();
        Ok(())
    }

    fn plan(&mut self) {
        let stopped = self.parent.db.plan(&mut self.next);
        self.child.known.stops.extend(stopped);
    }

    fn turn_parent(&mut self) {
        let messages = self.parent.tick(Time(self.now));
        self.down(messages);
    }

    /// A user wants something.
    fn wish(&mut self) {
        let slots: Vec<SlotId> = self.parent.db.wishes.keys().copied().collect();
        let change = self.rng.random_range(0..6);
        if slots.is_empty() || change < 2 {
            let count = if self.many { 150 } else { 4 };
            for _ in 0..self.rng.random_range(1..=count) {
                let slot = SlotId(id(&mut self.next).0);
                let wish = Wish {
                    desired: Desired::Run,
                    restarts: 0,
                    spec: self.rng.random_range(0..self.spec_kinds),
                };
                self.parent.db.wishes.insert(slot, wish);
            }
        } else {
            let slot = slots[self.rng.random_range(0..slots.len())];
            let spec = self.rng.random_range(0..self.spec_kinds);
            if let Some(wish) = self.parent.db.wishes.get_mut(&slot) {
                match (change, wish.desired) {
                    (_, Desired::Stop) => {}
                    (2, _) => wish.desired = Desired::Stop,
                    (3, Desired::Run) => wish.desired = Desired::Pause,
                    (3, _) => wish.desired = Desired::Run,
                    (4, _) => wish.restarts += 1,
                    _ => wish.spec = spec,
                }
            }
        }
        self.parent.db.point.revision += 1;
        self.plan();
        self.turn_parent();
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::RestartParent => {
                self.tally.restarts += 1;
                self.parent.restart();
            }
            Fault::RestartChild => {
                self.tally.restarts += 1;
                self.child.restart();
                let time = self.within(1..10_000);
                self.at(time, What::Attach);
            }
            Fault::CutLine => {
                self.child.child.disconnect();
                let time = self.within(1..20_000);
                self.at(time, What::Attach);
            }
            Fault::Blackout => self.dark_until = self.within(1_000..60_000),
            Fault::LoseDatabase => {
                self.tally.losses += 1;
                let lineage = 1_000_000 + id(&mut self.next).0.as_u128();
                let db = Db::new(u64::try_from(lineage).unwrap());
                self.parent = ParentSide::new(db, self.specs.clone());
                self.copy = None;
            }
            Fault::CopyDatabase => self.copy = Some(self.parent.db.clone()),
            Fault::RestoreDatabase => {
                if let Some(db) = self.copy.clone() {
                    self.tally.restores += 1;
                    self.parent = ParentSide::new(db, self.specs.clone());
                    self.plan();
                }
            }
        }
    }

    /// Notes what is more than a heartbeat and its acknowledgement.
    fn listen_up(&mut self, message: &v1::ChildMessage) {
        let quiet = match &message.message {
            Some(child_message::Message::Report(r)) => {
                r.entries.is_empty() && !r.full && r.capacity.is_none()
            }
            _ => false,
        };
        if !quiet && self.now >= AGREED {
            self.noise.push(tell::up(message));
        }
    }

    fn listen_down(&mut self, message: &v1::ParentMessage) {
        if !matches!(message.message, Some(Message::Ack(_))) && self.now >= AGREED {
            self.noise.push(tell::down(message));
        }
    }

    /// Both sides hold and know the same, and it is what users want.
    fn check(&self) -> Result<(), String> {
        let db = &self.parent.db;
        let bad = |what: String| Err(format!("at {} ms: {what}", self.now));
        if !self.child.child.is_open() || self.parent.is_adopting() {
            return bad(format!(
                "no session is open: child {}, adopting {}",
                self.child.child.is_open(),
                self.parent.is_adopting()
            ));
        }
        for (slot, wish) in &db.wishes {
            let mine: Vec<_> = db.rows.values().filter(|row| row.slot == *slot).collect();
            let [row] = mine[..] else {
                return bad(format!("slot {slot} has {mine:?}"));
            };
            let have = Wish {
                desired: row.desired,
                restarts: row.restart_count,
                spec: row.spec.unwrap_or(usize::MAX),
            };
            if have != *wish {
                return bad(format!("slot {slot} is {have:?} and shall be {wish:?}"));
            }
        }
        let jobs = &self.child.disk.jobs;
        if let Some(id) = jobs.keys().find(|id| !db.rows.contains_key(id)) {
            return bad(format!("the parent does not know {id}: {:?}", jobs.get(id)));
        }
        for (id, row) in &db.rows {
            let Some(job) = jobs.get(id) else {
                return bad(format!("the child does not hold {id}: {row:?}"));
            };
            let held = row.desired == Desired::Hold;
            let order = (job.order.generation, job.desired, job.order.restart_count);
            if !held && order != (row.generation, row.desired, row.restart_count) {
                return bad(format!("{id} is {order:?} and shall be {row:?}"));
            }
            if row.desired == Desired::Stop || job.desired == Desired::Stop || held != job.orphan {
                return bad(format!("{id} is {job:?} and shall be {row:?}"));
            }
            if (row.phase, row.restarts) != (job.phase, job.restarts) {
                return bad(format!("{id} is {job:?} and recorded as {row:?}"));
            }
            if !matches!(job.phase, Phase::Running | Phase::Paused) {
                return bad(format!("{id} is {:?}", job.phase));
            }
        }
        Ok(())
    }
}
