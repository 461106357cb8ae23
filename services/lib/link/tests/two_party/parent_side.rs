//! A parent: a database of wishes, orders and recorded states, and the production half of the link above it.
//!
//! How orders follow from wishes and how states are recorded is a model of what a tier does, as small as it can be.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    child::Accepted,
    digest,
    ids::{AssignmentId, AttachId, Lineage, SlotId},
    lifecycle::Phase,
    records::Desired,
    time::Time,
};
use edgeio_link::{
    PROTOCOL, convert,
    parent::{Facts, Parent, Receipt, Send, first_part},
    verdict::{self, Recorded, Verdict},
};
use edgeio_proto::link::v1::{self, child_message, parent_message::Message};
use uuid::Uuid;

use crate::world::{Expected, Specs, id};

/// What a user wants of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    pub(crate) desired: Desired,
    pub(crate) restarts: u32,
    pub(crate) spec: usize,
}

/// An assignment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) slot: SlotId,
    pub(crate) generation: u64,
    pub(crate) desired: Desired,
    pub(crate) restart_count: u32,
    pub(crate) spec: Option<usize>,
    pub(crate) order_revision: u64,
    pub(crate) phase: Phase,
    pub(crate) restarts: u32,
}

/// What is durable.
#[derive(Clone, Debug)]
pub(crate) struct Db {
    pub(crate) point: Accepted,
    sessions: u64,
    /// Its session, its attempt and whether it is being adopted; `None` when the child is not registered.
    pub(crate) child: Option<(u64, AttachId, bool)>,
    pub(crate) wishes: BTreeMap<SlotId, Wish>,
    pub(crate) rows: BTreeMap<AssignmentId, Row>,
    /// The revision at which nothing was left to plan.
    planned: Option<u64>,
}

impl Db {
    pub(crate) fn new(lineage: u64) -> Self {
        Self {
            point: Accepted {
                lineage: Lineage(Uuid::from_u128(u128::from(lineage))),
                issuer_epoch: 1,
                revision: 0,
            },
            sessions: 0,
            child: None,
            wishes: BTreeMap::new(),
            rows: BTreeMap::new(),
            planned: None,
        }
    }

    fn order(&mut self, id: AssignmentId, row: Row) {
        let row = Row {
            order_revision: self.point.revision,
            ..row
        };
        self.rows.insert(id, row);
    }

    /// Brings the orders to the wishes, as the planner of a tier does; the ids that were told to stop.
    pub(crate) fn plan(&mut self, next: &mut u64) -> Vec<AssignmentId> {
        let mut stopped = Vec::new();
        if self.planned == Some(self.point.revision) {
            return stopped;
        }
        self.point.revision += 1;
        self.planned = Some(self.point.revision);
        let mut by_slot: BTreeMap<SlotId, Vec<(AssignmentId, Row)>> = BTreeMap::new();
        for (id, row) in &self.rows {
            by_slot
                .entry(row.slot)
                .or_default()
                .push((*id, row.clone()));
        }
        for (slot, wish) in self.wishes.clone() {
            let mine = by_slot.remove(&slot).unwrap_or_default();
            let fits = |row: &Row| {
                wish.desired != Desired::Stop
                    && row.desired != Desired::Stop
                    && row.spec == Some(wish.spec)
            };
            let keep = mine.iter().find(|(_, row)| fits(row)).map(|(id, _)| *id);
            for (id, row) in &mine {
                let desired = if Some(*id) == keep {
                    wish.desired
                } else {
                    Desired::Stop
                };
                let restart_count = if Some(*id) == keep {
                    wish.restarts
                } else {
                    row.restart_count
                };
                if row.desired == desired && row.restart_count == restart_count {
                    continue;
                }
                if desired == Desired::Stop {
                    stopped.push(*id);
                }
                let row = Row {
                    generation: row.generation + 1,
                    desired,
                    restart_count,
                    ..row.clone()
                };
                self.order(*id, row);
            }
            if mine.is_empty() && wish.desired == Desired::Stop {
                self.wishes.remove(&slot);
            } else if mine.is_empty() {
                let row = Row {
                    slot,
                    generation: 1,
                    desired: wish.desired,
                    restart_count: wish.restarts,
                    spec: Some(wish.spec),
                    order_revision: 0,
                    phase: Phase::Scheduled,
                    restarts: 0,
                };
                self.order(id(next), row);
            }
        }
        stopped
    }

    fn newest_order(&self) -> u64 {
        let orders = self.rows.values().map(|row| row.order_revision);
        orders.max().unwrap_or(0)
    }

    fn facts(&self) -> Facts {
        let held = self.rows.iter().filter(|(_, r)| r.desired != Desired::Stop);
        let orders = self.rows.iter();
        Facts {
            point: self.point,
            newest_order: self.newest_order(),
            assignments: digest::assignments(
                orders.map(|(id, r)| (*id, r.generation, r.desired, r.restart_count)),
            ),
            states: digest::states(held.map(|(id, r)| (*id, r.phase, r.restarts))),
            applications: digest::applications([]),
        }
    }
}

/// Where a commit breaks off, and with it the process' memory of the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Break {
    Before,
    After,
}

/// A message and what it must bring its receiver, for the checks.
pub(crate) type Down = (v1::ParentMessage, Expected);

pub(crate) struct ParentSide {
    pub(crate) db: Db,
    memory: Option<Memory>,
    /// Of the newest revision that was asked about.
    facts: Option<Facts>,
    /// Ids whose end was told in the report that was recorded last.
    pub(crate) ended: Vec<AssignmentId>,
    specs: Specs,
}

/// What is known of the session.
struct Memory {
    parent: Parent,
    applied: Option<Accepted>,
    told: (u64, BTreeSet<AssignmentId>),
}

impl Memory {
    fn new(epoch: u64, adopting: bool) -> Self {
        Self {
            parent: Parent::new(epoch, adopting),
            applied: None,
            told: (0, BTreeSet::new()),
        }
    }

    fn applied_of(&self, point: &Accepted) -> u64 {
        let same =
            |a: &Accepted| (a.lineage, a.issuer_epoch) == (point.lineage, point.issuer_epoch);
        self.applied.filter(same).map_or(0, |a| a.revision)
    }
}

impl ParentSide {
    pub(crate) fn new(db: Db, specs: Specs) -> Self {
        Self {
            db,
            memory: None,
            facts: None,
            ended: Vec::new(),
            specs,
        }
    }

    /// The process ends and begins again over what is durable.
    pub(crate) fn restart(&mut self) {
        self.memory = None;
    }

    pub(crate) fn register(&mut self) {
        self.db.child.get_or_insert((0, AttachId::default(), false));
    }

    pub(crate) fn is_adopting(&self) -> bool {
        self.db.child.is_some_and(|(_, _, adopting)| adopting)
    }

    /// Sends what is new, and asks about what is unanswered.
    pub(crate) fn tick(&mut self, now: Time) -> Vec<Down> {
        let point = self.db.point;
        let newest = self.db.newest_order();
        let Some(memory) = &mut self.memory else {
            return Vec::new();
        };
        let applied = memory.applied_of(&point);
        let mut out = Vec::new();
        if memory.parent.nudge(applied, now) {
            out.push((memory.parent.request(false), Expected::default()));
        }
        let told = applied > 0 || memory.parent.has_sent();
        if let Some(send) = memory.parent.push(applied, newest)
            && told
        {
            out.extend(self.entries(send, now));
        }
        out
    }

    fn entries(&mut self, send: Send, now: Time) -> Vec<Down> {
        let from = match send {
            Send::Delta { from } => Some(from),
            Send::Snapshot | Send::AskFull | Send::AskApplications => None,
        };
        let rows = self.db.rows.iter().filter(|(_, row)| {
            row.desired != Desired::Hold && from.is_none_or(|from| row.order_revision > from)
        });
        let rows: Vec<(AssignmentId, Row)> = rows.map(|(id, row)| (*id, row.clone())).collect();
        let expected: Expected = rows.iter().map(|(id, row)| (*id, row.generation)).collect();
        let running = rows.iter().filter(|(_, row)| row.desired != Desired::Stop);
        let used: BTreeSet<usize> = running.filter_map(|(_, row)| row.spec).collect();
        let specs = used.into_iter().map(|spec| self.specs.wire(spec)).collect();
        let entries = rows.iter().map(|(id, row)| self.render(*id, row)).collect();
        let point = self.db.point;
        let Some(memory) = &mut self.memory else {
            return Vec::new();
        };
        let messages = memory.parent.entries(send, point, entries, specs, now);
        let with = |message| (message, expected.clone());
        messages.into_iter().map(with).collect()
    }

    fn render(&self, id: AssignmentId, row: &Row) -> v1::Assignment {
        let hash = row
            .spec
            .map(|spec| self.specs.hash(spec))
            .unwrap_or_default();
        v1::Assignment {
            id: id.to_string(),
            slot_id: row.slot.to_string(),
            generation: row.generation,
            desired: convert::desired_to_wire(row.desired).into(),
            restart_count: row.restart_count,
            spec_hash: hash.0.to_vec(),
            application: "web".to_owned(),
            ..Default::default()
        }
    }

    pub(crate) fn receive(
        &mut self,
        message: v1::ChildMessage,
        now: Time,
        broken: Option<Break>,
    ) -> Vec<Down> {
        let before = (broken == Some(Break::Before)).then(|| self.db.clone());
        self.ended.clear();
        let out = match message.message {
            Some(child_message::Message::Hello(hello)) => self.hello(&hello, now),
            Some(child_message::Message::Report(report)) => self.report(&report, now),
            Some(child_message::Message::Telemetry(_)) | None => Vec::new(),
        };
        if broken.is_some() {
            self.memory = None;
        }
        match broken {
            None => out,
            Some(Break::After) => Vec::new(),
            Some(Break::Before) => {
                self.db = before.unwrap_or_else(|| self.db.clone());
                self.ended.clear();
                Vec::new()
            }
        }
    }

    fn hello(&mut self, hello: &v1::Hello, now: Time) -> Vec<Down> {
        let Some((session, attach, adopting)) = self.db.child else {
            return refuse(0, v1::RefusalReason::UnknownChild);
        };
        let attempt: AttachId = hello.attach_id.parse().unwrap();
        let said = hello.accepted.as_ref();
        let said = said.map(|a| convert::accepted_from_wire(a).unwrap());
        let point = self.db.point;
        let older = said.is_some_and(|said| verdict::is_ahead(&point, &said));
        let (mut session, mut adopting) = (session, adopting);
        if attach != attempt || session == 0 || older {
            let risen = said.and_then(|said| verdict::adopt(&point, &said));
            adopting = risen.is_some();
            self.db.point.issuer_epoch = risen.unwrap_or(point.issuer_epoch);
            self.db.sessions = now.0.unsigned_abs().max(self.db.sessions + 1);
            session = self.db.sessions;
            self.db.child = Some((session, attempt, adopting));
            self.db.point.revision += 1;
        }
        if self
            .memory
            .as_ref()
            .is_none_or(|m| m.parent.epoch != session)
        {
            self.memory = Some(Memory::new(session, adopting));
        }
        let welcome = Message::Welcome(v1::Welcome {
            protocol: PROTOCOL,
            attach_id: hello.attach_id.clone(),
            lineage: self.db.point.lineage.to_string(),
            issuer_epoch: self.db.point.issuer_epoch,
            report_interval_ms: 15_000,
            adopting,
            ..Default::default()
        });
        let message = v1::ParentMessage {
            session_epoch: session,
            message: Some(welcome),
        };
        vec![(message, Expected::default())]
    }

    fn report(&mut self, report: &v1::Report, now: Time) -> Vec<Down> {
        let epoch = report.session_epoch;
        let Some((session, attach, adopting)) = self.db.child else {
            return refuse(epoch, v1::RefusalReason::UnknownChild);
        };
        let applied = report.applied.as_ref();
        let applied = applied.map(|a| convert::accepted_from_wire(a).unwrap());
        let point = self.db.point;
        let older = applied.is_some_and(|applied| verdict::is_ahead(&point, &applied));
        if session != epoch || older {
            return refuse(epoch, v1::RefusalReason::StaleSession);
        }
        let fresh = self.memory.take().filter(|m| m.parent.epoch == epoch);
        let mut memory = fresh.unwrap_or_else(|| Memory::new(epoch, adopting));
        let receipt = memory.parent.receive(report);
        let ack = |memory: &Memory| (memory.parent.ack(None), Expected::default());
        let Receipt::Record { completes_full } = receipt else {
            let out = vec![ack(&memory)];
            self.memory = Some(memory);
            return out;
        };
        memory.applied = applied;
        let mut changed = false;
        for entry in &report.entries {
            changed |= self.record(entry);
        }
        if memory.told.0 != first_part(report) {
            memory.told = (first_part(report), BTreeSet::new());
        }
        if report.full {
            let told = report
                .entries
                .iter()
                .map(|e| e.id.parse::<AssignmentId>().unwrap());
            memory.told.1.extend(told);
        }
        if completes_full {
            let (_, told) = std::mem::take(&mut memory.told);
            let applied = memory.applied_of(&point);
            let before = self.db.rows.len();
            self.db.rows.retain(|id, row| {
                told.contains(id)
                    || match row.desired {
                        Desired::Run | Desired::Pause => true,
                        Desired::Hold => false,
                        Desired::Stop => row.order_revision == 0 || row.order_revision > applied,
                    }
            });
            changed |= before != self.db.rows.len();
            self.db.child = Some((session, attach, false));
        }
        if changed {
            self.db.point.revision += 1;
        }
        if self.facts.is_none_or(|facts| facts.point != self.db.point) {
            self.facts = Some(self.db.facts());
        }
        let facts = self.facts.unwrap_or_else(|| self.db.facts());
        let mut out = vec![ack(&memory)];
        let answer = memory.parent.answer(report, &facts, now);
        if answer == Some(Send::AskFull) {
            out.push((memory.parent.request(true), Expected::default()));
        }
        self.memory = Some(memory);
        if let Some(send @ (Send::Snapshot | Send::Delta { .. })) = answer {
            out.extend(self.entries(send, now));
        }
        out
    }

    /// Records one state; whether that changed anything.
    fn record(&mut self, entry: &v1::InstanceReport) -> bool {
        let id: AssignmentId = entry.id.parse().unwrap();
        let observed = convert::observed_from_wire(entry, Time(0)).unwrap();
        if observed.phase == Phase::Stopped {
            self.ended.push(id);
        }
        // Orders that are made here are of the revision that this report's commit gets.
        let revision = self.db.point.revision + 1;
        let Some(row) = self.db.rows.get_mut(&id) else {
            if observed.phase == Phase::Stopped || entry.rejection.is_some() {
                return false;
            }
            let row = Row {
                slot: entry.slot_id.parse().unwrap(),
                generation: observed.generation,
                desired: Desired::Hold,
                restart_count: observed.restart_count,
                spec: self.specs.find(&entry.spec_hash),
                order_revision: 0,
                phase: observed.phase,
                restarts: observed.restarts,
            };
            self.db.rows.insert(id, row);
            return true;
        };
        let before = row.clone();
        let order = Recorded {
            generation: row.generation,
            desired: row.desired,
            restart_count: row.restart_count,
        };
        match verdict::judge(order, entry, &observed) {
            Verdict::Done | Verdict::Refused => {
                self.db.rows.remove(&id);
                return true;
            }
            Verdict::Moot => return false,
            Verdict::Record => {}
            Verdict::Renew { generation, resend } => {
                row.generation = generation;
                if resend {
                    row.order_revision = revision;
                }
            }
        }
        row.phase = observed.phase;
        row.restarts = observed.restarts;
        *row != before
    }
}

fn refuse(epoch: u64, reason: v1::RefusalReason) -> Vec<Down> {
    let refusal = v1::Refusal {
        reason: reason.into(),
        message: String::new(),
    };
    let message = v1::ParentMessage {
        session_epoch: epoch,
        message: Some(Message::Refusal(refusal)),
    };
    vec![(message, Expected::default())]
}
