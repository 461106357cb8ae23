//! The child's half of the link: a cluster towards its root, a worker towards its cluster.
//!
//! It opens a session with Hello until a Welcome answers, judges what the parent sends against what the child holds, and
//! tells states until they are recorded. The caller persists each [`Acceptance`] before it acts on it and then calls
//! [`Child::accepted`]. Messages of another session are dropped: a cloned identity acts on nothing.

mod lease;
#[cfg(test)]
mod owned_tests;
mod receive;
mod tell;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use edgeio_domain::{
    child::Accepted,
    digest::Digest16,
    ids::{AppUid, AssignmentId, AttachId, ChildId, Lineage, SpecHash},
    time::Time,
};
use edgeio_proto::link::v1;

use crate::{
    chunk::Assembly,
    holdings::Acceptance,
    reports::{Reports, StateVersion},
    version::{Agreed, Offer, feature},
};
use tell::gone_report;

/// How long to wait for an answer to Hello before it is sent again. A round trip over a bad line is under a second.
const HELLO_AGAIN: Duration = Duration::from_secs(2);
/// How long a report may be unanswered before its states are told again.
const REPORT_AGAIN: Duration = Duration::from_secs(5);
/// Heartbeat until the parent names its interval.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
/// First pause before a session is opened anew when another one took its place; it doubles from time to time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause. Two machines with one identity then open some two sessions a minute, which a parent does not feel.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A session that lived for so long was not part of a fight: longer than the longest pause of the other side.
const PEACE: Duration = Duration::from_secs(120);
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

/// A pause after [`Step::Superseded`] from which on a person should look: the session was taken three times in a row.
pub const CONTESTED: Duration = Duration::from_secs(3);

/// What the caller shall do.
#[derive(Debug)]
pub enum Step {
    /// Persist this as a whole, act on it, and call [`Child::accepted`].
    Accept(Acceptance),
    /// More of what was told is recorded now: see [`Child::is_recorded`].
    Recorded,
    /// A newer session of the same identity took this one's place. Another one is opened after this pause; if it happens
    /// again and again, two processes have one identity.
    Superseded(Duration),
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
    /// The applications that it owns; `None` for a child that owns none by its nature, such as a worker.
    pub owned: Option<Owned<'a>>,
    /// Bodies of the specs that the parent asked for (see [`Child::wanted_specs`]), as far as the child has them.
    pub specs: &'a [v1::Spec],
}

/// The applications that a child owns. They are told in sessions with the feature
/// [`feature::OWNED_APPLICATIONS`] only.
pub struct Owned<'a> {
    /// Each, with a version that rises when it changes.
    pub applications: &'a [(AppUid, StateVersion)],
    /// Digest of all.
    pub digest: Digest16,
    /// Renders one.
    pub render: &'a dyn Fn(AppUid) -> Option<v1::OwnedApplication>,
}

#[derive(Debug)]
enum Session {
    /// Nothing to talk to.
    Down,
    /// Hello is sent, or due at `again`.
    Opening { again: Time },
    /// Open.
    Open(Open),
}

/// An open session.
#[derive(Clone, Copy, Debug)]
struct Open {
    epoch: u64,
    since: Time,
    /// The parent's database when it opened the session. Numbers of sessions may be handed out again by another one.
    lineage: Lineage,
    issuer_epoch: u64,
}

/// What names a chunked message: where a delta begins, whether it is a snapshot, where it leads, how many parts it has.
type Key = (u64, bool, Accepted, u32);
/// What one part carries.
type Part = (Vec<v1::Assignment>, Vec<v1::Spec>);

/// The child's half.
#[derive(Debug)]
pub struct Child {
    identity: Identity,
    /// What this side can do.
    offer: Offer,
    /// What both sides of the newest session can do.
    agreed: Agreed,
    attach: AttachId,
    session: Session,
    accepted: Option<Accepted>,
    reports: Reports,
    /// What is not held and has to be told once: refused, or stopped before.
    gone: Vec<v1::InstanceReport>,
    /// Applications that it owned, to be told once as gone.
    gone_applications: Vec<v1::OwnedApplication>,
    /// The parent asked for all applications that the child owns.
    applications_asked: bool,
    /// Specs that the parent asked for.
    specs_asked: BTreeSet<SpecHash>,
    assembly: Assembly<Key, Part>,
    interval: Duration,
    capacity_told: Option<u64>,
    full: bool,
    hurry: bool,
    told_at: Time,
    unanswered_since: Option<Time>,
    heard_at: Time,
    /// See [`Child::renewed`].
    renewed: Option<Time>,
    /// See [`Child::hasten`].
    within: Option<Duration>,
    /// How often in a row another session took the place of this child's.
    superseded: u32,
}

impl Child {
    /// A child that has accepted that much before.
    #[must_use]
    pub fn new(identity: Identity, accepted: Option<Accepted>) -> Self {
        Self {
            identity,
            offer: Offer::OWN,
            agreed: Agreed::default(),
            attach: AttachId::default(),
            session: Session::Down,
            accepted,
            reports: Reports::default(),
            gone: Vec::new(),
            gone_applications: Vec::new(),
            applications_asked: false,
            specs_asked: BTreeSet::new(),
            assembly: Assembly::default(),
            interval: DEFAULT_INTERVAL,
            capacity_told: None,
            full: false,
            hurry: false,
            told_at: Time(0),
            unanswered_since: None,
            heard_at: Time(0),
            renewed: None,
            within: None,
            superseded: 0,
        }
    }

    /// The same child with other versions and features than this build's.
    #[must_use]
    pub fn offering(mut self, offer: Offer) -> Self {
        self.offer = offer;
        self
    }

    /// What both sides of the open session can do; `None` while none is open.
    #[must_use]
    pub fn agreed(&self) -> Option<&Agreed> {
        self.is_open().then_some(&self.agreed)
    }

    /// The transport is up, or the session must be opened anew: begins an attempt under a new id.
    pub fn connect(&mut self, attach: AttachId, now: Time) {
        self.attach = attach;
        self.session = Session::Opening { again: now };
        self.begin();
        self.heard_at = now;
    }

    /// Nothing is told yet in the session to come.
    fn begin(&mut self) {
        self.reports.begin();
        self.capacity_told = None;
        self.unanswered_since = None;
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
        matches!(self.session, Session::Open(_))
    }

    /// Whether both sides of the open session have this feature.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.agreed().is_some_and(|agreed| agreed.has(feature))
    }

    /// An instance of an application that the child owns, or such an application, is no more: that is told once. If it is
    /// lost, the digests tell. Nothing is kept for a parent that is away: a new session begins with everything.
    pub fn lost(
        &mut self,
        instances: Vec<v1::InstanceReport>,
        applications: Vec<v1::OwnedApplication>,
    ) {
        if self.has(feature::OWNED_APPLICATIONS) {
            self.gone.extend(instances);
            self.gone_applications.extend(applications);
        }
    }

    /// The specs that the parent asked for and that the next report should have.
    #[must_use]
    pub fn wanted_specs(&self) -> Vec<SpecHash> {
        self.specs_asked.iter().copied().collect()
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

    /// When [`Child::poll`] has something to do at the latest; `None` while the transport is down.
    #[must_use]
    pub fn due(&self, now: Time) -> Option<Time> {
        match self.session {
            Session::Down => None,
            Session::Opening { again } => Some(again),
            Session::Open(_) if self.hurry => Some(now),
            Session::Open(_) => {
                let beat = self.told_at + self.beat();
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
}
