//! The child's half of the link: a cluster towards its root, a worker towards its cluster.
//!
//! It opens a session with Hello until a Welcome answers, judges what the parent sends against what the child holds, and
//! tells states until they are recorded. The caller persists each [`Acceptance`] before it acts on it and then calls
//! [`Child::accepted`]. Messages of another session are dropped: a cloned identity acts on nothing.

use std::time::Duration;

use edgeio_domain::{
    child::Accepted,
    digest::Digest16,
    ids::{AssignmentId, AttachId, ChildId},
    node::RejectionReason,
    plant::{self, Plant},
    time::Time,
};
use edgeio_proto::link::v1::{self, child_message, parent_message};

use crate::{
    PROTOCOL,
    chunk::{self, Assembly},
    convert,
    holdings::{Acceptance, Holdings},
    reports::{Reports, StateVersion},
};

/// How long to wait for an answer to Hello before it is sent again. A round trip over a bad line is under a second.
const HELLO_AGAIN: Duration = Duration::from_secs(2);
/// How long a report may be unanswered before its states are told again.
const REPORT_AGAIN: Duration = Duration::from_secs(5);
/// Heartbeat until the parent names its interval.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
/// Heartbeats without any word from the parent after which the session is opened anew.
const SILENT_INTERVALS: u32 = 3;

/// Who the child is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id.
    pub id: ChildId,
    /// Version of its software.
    pub version: String,
    /// Boot id of its machine.
    pub boot_id: String,
}

/// What the caller shall do.
#[derive(Debug)]
pub enum Step {
    /// Persist this as a whole, act on it, and call [`Child::accepted`].
    Accept(Acceptance),
    /// More of what was told is recorded now: see [`Child::is_recorded`].
    Recorded,
    /// The parent does not know this child: register again.
    Register(String),
    /// The parent and this child have no version of the protocol in common.
    Incompatible(String),
}

/// The child's states, as the caller holds them.
pub struct View<'a> {
    /// Every assignment that it holds, with the version of its state.
    pub states: &'a [(AssignmentId, StateVersion)],
    /// Digest of what it holds.
    pub assignments: Digest16,
    /// Digest of its states.
    pub digest: Digest16,
    /// Renders one state.
    pub render: &'a dyn Fn(AssignmentId) -> Option<v1::InstanceReport>,
    /// What it offers, with a number that rises when that changes.
    pub capacity: (u64, &'a v1::Capacity),
}

#[derive(Debug)]
enum Session {
    /// Nothing to talk to.
    Down,
    /// Hello is sent, or due at `again`.
    Opening { again: Time },
    /// Open.
    Open { epoch: u64 },
}

/// What names a chunked message: where a delta begins, whether it is a snapshot, where it leads, how many parts it has.
type Key = (u64, bool, Accepted, u32);
/// What one part carries.
type Part = (Vec<v1::Assignment>, Vec<v1::Spec>);

/// The child's half.
#[derive(Debug)]
pub struct Child {
    identity: Identity,
    attach: AttachId,
    session: Session,
    accepted: Option<Accepted>,
    reports: Reports,
    /// What is not held and has to be told once: refused, or stopped before.
    gone: Vec<v1::InstanceReport>,
    assembly: Assembly<Key, Part>,
    interval: Duration,
    capacity_told: Option<u64>,
    full: bool,
    hurry: bool,
    told_at: Time,
    unanswered_since: Option<Time>,
    heard_at: Time,
}

impl Child {
    /// A child that has accepted that much before.
    #[must_use]
    pub fn new(identity: Identity, accepted: Option<Accepted>) -> Self {
        Self {
            identity,
            attach: AttachId::default(),
            session: Session::Down,
            accepted,
            reports: Reports::default(),
            gone: Vec::new(),
            assembly: Assembly::default(),
            interval: DEFAULT_INTERVAL,
            capacity_told: None,
            full: false,
            hurry: false,
            told_at: Time(0),
            unanswered_since: None,
            heard_at: Time(0),
        }
    }

    /// The transport is up, or the session must be opened anew: begins an attempt under a new id.
    pub fn connect(&mut self, attach: AttachId, now: Time) {
        self.attach = attach;
        self.session = Session::Opening { again: now };
        self.reports = Reports::default();
        self.capacity_told = None;
        self.unanswered_since = None;
        self.heard_at = now;
    }

    /// The transport is down.
    pub fn disconnect(&mut self) {
        self.session = Session::Down;
    }

    /// The point up to which assignments are accepted.
    #[must_use]
    pub fn accepted_point(&self) -> Option<Accepted> {
        self.accepted
    }

    /// Whether a session is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.session, Session::Open { .. })
    }

    /// An [`Acceptance`] is persisted.
    pub fn accepted(&mut self, acceptance: &Acceptance) {
        self.accepted = Some(acceptance.accepted);
        let refused = acceptance
            .refuse
            .iter()
            .map(|(assignment, reason)| (assignment, Some(*reason)));
        let gone = acceptance.gone.iter().map(|assignment| (assignment, None));
        self.gone.extend(
            refused
                .chain(gone)
                .map(|(assignment, reason)| gone_report(assignment, reason)),
        );
        self.hurry = true;
    }

    /// Whether the parent has recorded this version of a state in this session.
    #[must_use]
    pub fn is_recorded(&self, id: AssignmentId, version: StateVersion) -> bool {
        self.reports.is_recorded(id, version)
    }

    /// The assignment is not held any more.
    pub fn forget(&mut self, id: AssignmentId) {
        self.reports.forget(id);
    }

    /// Takes a message of the parent.
    pub fn receive(
        &mut self,
        message: v1::ParentMessage,
        held: &dyn Holdings,
        now: Time,
    ) -> Vec<Step> {
        if plant::on(Plant::DeafChild) {
            return Vec::new();
        }
        let epoch = message.session_epoch;
        let Some(body) = message.message else {
            return Vec::new();
        };
        match body {
            parent_message::Message::Welcome(welcome) => self.welcome(epoch, &welcome, now),
            parent_message::Message::Refusal(refusal) => self.refused(epoch, &refusal, now),
            _ if !self.is_session(epoch) => Vec::new(),
            parent_message::Message::Snapshot(s) => {
                self.heard_at = now;
                let to = (s.lineage.as_str(), s.issuer_epoch, s.revision);
                self.collect(true, 0, to, (s.chunk, s.chunks), (s.entries, s.specs), held)
            }
            parent_message::Message::Delta(d) => {
                self.heard_at = now;
                if !self.continues(&d) {
                    self.hurry = true;
                    return Vec::new();
                }
                let to = (d.lineage.as_str(), d.issuer_epoch, d.to_revision);
                self.collect(
                    false,
                    d.from_revision,
                    to,
                    (d.chunk, d.chunks),
                    (d.entries, d.specs),
                    held,
                )
            }
            parent_message::Message::Ack(ack) => {
                self.heard_at = now;
                self.unanswered_since = None;
                self.reports.acknowledge(ack.recorded_seq);
                vec![Step::Recorded]
            }
            parent_message::Message::ReportRequest(request) => {
                self.heard_at = now;
                self.full |= request.full;
                self.hurry = true;
                Vec::new()
            }
        }
    }

    fn is_session(&self, epoch: u64) -> bool {
        matches!(self.session, Session::Open { epoch: own } if own == epoch)
    }

    fn welcome(&mut self, epoch: u64, welcome: &v1::Welcome, now: Time) -> Vec<Step> {
        let mine = convert::id::<AttachId>("attach_id", &welcome.attach_id) == Ok(self.attach);
        if !mine || !matches!(self.session, Session::Opening { .. }) {
            return Vec::new();
        }
        if welcome.protocol != PROTOCOL {
            let text = format!(
                "the parent picked protocol {}, this is {PROTOCOL}",
                welcome.protocol
            );
            return vec![Step::Incompatible(text)];
        }
        self.session = Session::Open { epoch };
        self.interval = match welcome.report_interval_ms {
            0 => DEFAULT_INTERVAL,
            ms => Duration::from_millis(u64::from(ms)),
        };
        self.heard_at = now;
        self.full = true;
        self.hurry = true;
        Vec::new()
    }

    fn refused(&mut self, epoch: u64, refusal: &v1::Refusal, now: Time) -> Vec<Step> {
        let opening = matches!(self.session, Session::Opening { .. });
        if !opening && !self.is_session(epoch) {
            return Vec::new();
        }
        match refusal.reason() {
            v1::RefusalReason::UnknownChild => vec![Step::Register(refusal.message.clone())],
            v1::RefusalReason::Protocol => vec![Step::Incompatible(refusal.message.clone())],
            v1::RefusalReason::StaleSession | v1::RefusalReason::Unspecified => {
                if !opening {
                    self.session = Session::Opening { again: now };
                    self.reports = Reports::default();
                    self.capacity_told = None;
                }
                Vec::new()
            }
        }
    }

    /// Whether a delta begins at or before what is accepted, in the same database.
    fn continues(&self, delta: &v1::Delta) -> bool {
        self.accepted.is_some_and(|point| {
            delta.lineage == point.lineage.to_string()
                && delta.issuer_epoch == point.issuer_epoch
                && delta.from_revision <= point.revision
                && delta.to_revision > point.revision
        })
    }

    fn collect(
        &mut self,
        snapshot: bool,
        from: u64,
        (lineage, issuer_epoch, revision): (&str, u64, u64),
        (chunk, chunks): (u32, u32),
        part: Part,
        held: &dyn Holdings,
    ) -> Vec<Step> {
        let Ok(lineage) = convert::id("lineage", lineage) else {
            return Vec::new();
        };
        let point = Accepted {
            lineage,
            issuer_epoch,
            revision,
        };
        let older = self.accepted.is_some_and(|have| {
            have.lineage == lineage && (issuer_epoch, revision) < (have.issuer_epoch, have.revision)
        });
        if older {
            self.hurry = true;
            return Vec::new();
        }
        let key = (from, snapshot, point, chunks);
        let Some(parts) = self.assembly.add(key, chunk, chunks, part) else {
            return Vec::new();
        };
        let (mut entries, mut specs) = (Vec::new(), Vec::new());
        for (some, more) in parts {
            entries.extend(some);
            specs.extend(more);
        }
        vec![Step::Accept(Acceptance::judge(
            point, snapshot, entries, specs, held,
        ))]
    }

    /// When [`Child::poll`] has something to do at the latest; `None` while the transport is down.
    #[must_use]
    pub fn due(&self, now: Time) -> Option<Time> {
        match self.session {
            Session::Down => None,
            Session::Opening { again } => Some(again),
            Session::Open { .. } if self.hurry => Some(now),
            Session::Open { .. } => {
                let beat = self.told_at + self.interval;
                Some(
                    self.unanswered_since
                        .map_or(beat, |since| beat.min(since + REPORT_AGAIN)),
                )
            }
        }
    }

    /// Whether the parent has been silent for so long that the session must be opened anew under a new attempt.
    #[must_use]
    pub fn is_silent(&self, now: Time) -> bool {
        self.is_open() && now.since(self.heard_at) >= self.interval * SILENT_INTERVALS
    }

    /// What to send now.
    pub fn poll(&mut self, view: &View<'_>, now: Time) -> Vec<v1::ChildMessage> {
        match self.session {
            Session::Down => Vec::new(),
            Session::Opening { again } if now < again => Vec::new(),
            Session::Opening { .. } => {
                self.session = Session::Opening {
                    again: now + HELLO_AGAIN,
                };
                vec![self.hello(view)]
            }
            Session::Open { epoch } => self.report(epoch, view, now),
        }
    }

    fn hello(&self, view: &View<'_>) -> v1::ChildMessage {
        wrap(child_message::Message::Hello(v1::Hello {
            protocol_min: PROTOCOL,
            protocol_max: PROTOCOL,
            features: Vec::new(),
            child_id: self.identity.id.to_string(),
            attach_id: self.attach.to_string(),
            boot_id: self.identity.boot_id.clone(),
            accepted: self.accepted.as_ref().map(convert::accepted_to_wire),
            version: self.identity.version.clone(),
            capacity: Some(view.capacity.1.clone()),
        }))
    }

    fn report(&mut self, epoch: u64, view: &View<'_>, now: Time) -> Vec<v1::ChildMessage> {
        let states = || view.states.iter().copied();
        let full = std::mem::take(&mut self.full);
        let again = self
            .unanswered_since
            .is_some_and(|since| now.since(since) >= REPORT_AGAIN);
        let tell: Vec<(AssignmentId, StateVersion)> = if full {
            states().collect()
        } else if again {
            self.reports.unrecorded(states()).collect()
        } else {
            self.reports.untold(states()).collect()
        };
        // It has no digest. If the report that carried it is lost, the gap makes the parent ask for a full one.
        let news = full || self.capacity_told != Some(view.capacity.0);
        let capacity = news.then(|| view.capacity.1.clone());
        let hurry = std::mem::take(&mut self.hurry);
        let beat = now.since(self.told_at) >= self.interval;
        if !(full
            || hurry
            || beat
            || !tell.is_empty()
            || capacity.is_some()
            || !self.gone.is_empty())
        {
            if again {
                // A heartbeat went unanswered and there is nothing to repeat: the next one will tell.
                self.unanswered_since = Some(now);
            }
            return Vec::new();
        }
        self.capacity_told = Some(view.capacity.0);
        self.told_at = now;
        if self.unanswered_since.is_none() || again {
            self.unanswered_since = Some(now);
        }
        let mut entries: Vec<v1::InstanceReport> = tell
            .iter()
            .filter_map(|(id, _)| (view.render)(*id))
            .collect();
        entries.append(&mut self.gone);
        let parts = chunk::split(entries);
        let last = parts.len() - 1;
        let mut out = Vec::with_capacity(parts.len());
        let mut versions = tell.into_iter();
        for (index, entries) in parts.into_iter().enumerate() {
            // What is gone has no version; it comes last and takes none.
            let told: Vec<_> = versions.by_ref().take(entries.len()).collect();
            let seq = self.reports.send(told);
            let whole = index == last;
            out.push(wrap(child_message::Message::Report(v1::Report {
                session_epoch: epoch,
                seq,
                applied: self.accepted.as_ref().map(convert::accepted_to_wire),
                assignments_digest: if whole {
                    view.assignments.to_vec()
                } else {
                    Vec::new()
                },
                states_digest: if whole {
                    view.digest.to_vec()
                } else {
                    Vec::new()
                },
                entries,
                full,
                chunk: u32::try_from(index).unwrap_or(u32::MAX),
                chunks: u32::try_from(last + 1).unwrap_or(u32::MAX),
                capacity: if whole { capacity.clone() } else { None },
            })));
        }
        out
    }
}

fn wrap(message: child_message::Message) -> v1::ChildMessage {
    v1::ChildMessage {
        message: Some(message),
    }
}

/// Tells that an assignment is not held: it was stopped before, and with a reason also that it is refused for that.
fn gone_report(assignment: &v1::Assignment, reason: Option<RejectionReason>) -> v1::InstanceReport {
    v1::InstanceReport {
        id: assignment.id.clone(),
        slot_id: assignment.slot_id.clone(),
        generation: assignment.generation,
        phase: v1::Phase::Stopped.into(),
        rejection: reason.map(|reason| v1::Rejection {
            reason: convert::rejection_to_wire(reason).into(),
            message: "this id was stopped before and is never started again".to_owned(),
        }),
        ..Default::default()
    }
}
