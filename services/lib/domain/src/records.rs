//! What a tier keeps in its database. The store persists these; the planners read them; nobody else owns them.

use crate::{
    ids::{AppUid, AssignmentId, ChildId, SlotId, SpecHash},
    lifecycle::Phase,
    name::Name,
    resources::Resources,
    time::Time,
};

/// Who may change an application.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    /// The root.
    Root,
    /// One cluster, by its id.
    Cluster(ChildId),
}

/// What names an application.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppKey {
    /// Who owns it.
    pub owner: Owner,
    /// Namespace.
    pub namespace: Name,
    /// Name.
    pub name: Name,
}

/// A service of an application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Name, unique in the application.
    pub name: Name,
    /// How many run.
    pub replicas: u32,
    /// Its spec.
    pub spec_hash: SpecHash,
}

/// An application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Application {
    /// What names it.
    pub key: AppKey,
    /// From its creation to its deletion.
    pub uid: AppUid,
    /// Rises with each change by a user.
    pub version: u64,
    /// Its services, in the order of the manifest.
    pub services: Vec<Service>,
    /// When its deletion was accepted.
    pub deleted_at: Option<Time>,
    /// When it was accepted.
    pub created_at: Time,
    /// Revision of its last change.
    pub revision: u64,
}

/// What a tier wants of a slot or an assignment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Desired {
    /// It runs.
    Run,
    /// It is frozen.
    Pause,
    /// It is stopped for good.
    Stop,
    /// Nothing: it was found running and nobody asked for it, or another tier owns it. It is shown and left alone.
    Hold,
}

/// Where a slot lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incarnation {
    /// The instance.
    pub instance: AssignmentId,
    /// The worker.
    pub worker: ChildId,
    /// The worker's display name.
    pub worker_name: String,
}

/// Why one candidate was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CandidateReasons {
    /// The candidate, such as "worker a1".
    pub candidate: String,
    /// One sentence each.
    pub reasons: Vec<String>,
}

/// A child that refused a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The child.
    pub child: ChildId,
    /// What it said.
    pub message: String,
    /// It is not asked again before this.
    pub until: Time,
    /// How often it refused in a row.
    pub times: u32,
}

/// One replica of one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its id.
    pub id: SlotId,
    /// Its application.
    pub app: AppKey,
    /// The application's uid.
    pub app_uid: AppUid,
    /// The service.
    pub service: Name,
    /// The replica's number, from 0.
    pub ordinal: u32,
    /// What is wanted; `Stop` means that it is being retired.
    pub desired: Desired,
    /// Rises with each restart that a user asks for.
    pub restart_count: u32,
    /// The spec that it should run.
    pub spec_hash: SpecHash,
    /// What it needs.
    pub demand: Resources,
    /// Set where the parent tier owns the slot.
    pub upstream: Option<Upstream>,
    /// Children that refused it.
    pub refusals: Vec<Refusal>,
    /// Why it has no place, per candidate; empty when it has one.
    pub pending: Vec<CandidateReasons>,
    /// When it was made.
    pub created_at: Time,
    /// Revision of its last change.
    pub revision: u64,
}

/// The parent tier's side of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// The parent's name for the slot.
    pub slot: SlotId,
    /// Generation of the assignment that was accepted.
    pub generation: u64,
    /// What the parent had recorded: until its worker returns or `hold_until`, nothing is started in its place.
    pub recorded: Option<Incarnation>,
    /// See `recorded`.
    pub hold_until: Time,
    /// The parent's snapshot does not name it: it runs on, held.
    pub orphan: bool,
    /// It was handed back as unplaceable with this sentence.
    pub returned: Option<String>,
}

/// What a child reported of an assignment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// The generation that this answers.
    pub generation: u64,
    /// The restart count that this answers.
    pub restart_count: u32,
    /// The phase.
    pub phase: Phase,
    /// A stable word for why.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// Exit code of the last run that ended.
    pub exit_code: Option<i32>,
    /// How often it was started again by policy.
    pub restarts: u32,
    /// Since when it runs, by this tier's wall clock.
    pub running_since: Option<Time>,
    /// Up to 4 KiB of its last output.
    pub output_tail: Vec<u8>,
    /// The image digest that it uses.
    pub image_digest: String,
    /// How the runtime names it.
    pub handle: String,
    /// Where it lives, when the child is a cluster.
    pub incarnation: Option<Incarnation>,
    /// Why it is pending there, per candidate.
    pub candidates: Vec<CandidateReasons>,
    /// The child does not hear of it now (a cluster whose worker is silent): the state is the last one that it heard.
    pub unreachable: bool,
}

impl Observed {
    /// Whether the child has handed it back while what runs of it cannot be heard there, nor be replaced there for want of
    /// room: a substitute may be started on another child.
    #[must_use]
    pub fn is_handed_back(&self) -> bool {
        self.unreachable && self.phase == Phase::Pending
    }
}

/// One placement of a slot on a child.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// Its id.
    pub id: AssignmentId,
    /// The slot that it fills.
    pub slot: SlotId,
    /// The application, for people and for reports.
    pub app: AppKey,
    /// The application's uid.
    pub app_uid: AppUid,
    /// The service.
    pub service: Name,
    /// The replica's number.
    pub ordinal: u32,
    /// The child.
    pub child: ChildId,
    /// Orders its commands.
    pub generation: u64,
    /// What is wanted.
    pub desired: Desired,
    /// Restarts that users asked for.
    pub restart_count: u32,
    /// What it runs.
    pub spec_hash: SpecHash,
    /// What it takes.
    pub demand: Resources,
    /// What the child reported.
    pub observed: Observed,
    /// When it was made.
    pub created_at: Time,
    /// Revision at which its order (generation, desired, restart count) changed last: what the link sends by.
    pub order_revision: u64,
    /// Revision of its last change of any kind.
    pub revision: u64,
}

impl Assignment {
    /// Whether its child owns the application itself and only tells of it: nothing is ordered of it here, and it takes
    /// nothing that the child's own numbers do not include.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.app.owner == Owner::Cluster(self.child)
    }

    /// Whether it is meant to be there.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.desired, Desired::Run | Desired::Pause)
    }

    /// Whether it takes room on its child.
    #[must_use]
    pub fn takes_room(&self) -> bool {
        !matches!(
            self.observed.phase,
            Phase::Stopped | Phase::Completed | Phase::Failed
        )
    }
}

/// Something that happened, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When, by this tier's wall clock.
    pub at: Time,
    /// Namespace of what it is about; empty for children.
    pub namespace: String,
    /// What it is about, such as `application/web` or `worker/a1`.
    pub subject: String,
    /// A stable word, such as Placed or Refused.
    pub reason: String,
    /// One sentence.
    pub message: String,
}
