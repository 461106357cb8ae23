//! What goes into a node and what comes out. Plain data: the agent and the simulator both speak it.

use std::{collections::BTreeSet, time::Duration};

use edgeio_domain::{
    child::Capacity, ids::AssignmentId, plan::instance::Seen, resources::Resources, time::Time,
};
use edgeio_link::child::Identity;
use edgeio_proto::link::v1;
use uuid::Uuid;

use crate::runtime::{Feature, JobSpec, RuntimeKind};

/// Both clocks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// CLOCK_BOOTTIME: what waits are measured by.
    pub boot: Time,
    /// The wall clock: what is recorded.
    pub wall: Time,
}

/// Who a node is and what it offers at its start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The worker at its cluster.
    pub identity: Identity,
    /// The cluster: part of the labels of what is started.
    pub cluster: Uuid,
    /// The runtimes that it may use, whether or not their engines answer right now.
    pub runtimes: Vec<Offer>,
    /// What may be placed on it.
    pub capacity: Capacity,
}

/// What a worker takes of its own will, whatever its cluster thinks of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Willing {
    /// Takes new instances at all.
    pub accept_new: bool,
    /// Holds so many at most; 0 for any number.
    pub max_instances: u32,
}

impl Default for Willing {
    fn default() -> Self {
        Self {
            accept_new: true,
            max_instances: 0,
        }
    }
}

/// A runtime that a node may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Its name in specs.
    pub kind: RuntimeKind,
    /// What it can do. New work is measured by it; empty while the engine does not answer.
    pub features: BTreeSet<Feature>,
    /// Whether new work is taken for it.
    pub available: bool,
}

/// The capacity of one worker: one bucket, where everything is free. The cluster accounts for what it has placed itself, so a
/// worker never subtracts.
#[must_use]
pub fn capacity(architecture: &str, offers: &[Offer], allocatable: Resources) -> Capacity {
    let available = offers.iter().filter(|offer| offer.available);
    let runtimes: BTreeSet<String> = available.map(|o| o.kind.as_str().to_owned()).collect();
    Capacity {
        workers: 1,
        allocatable,
        free: allocatable,
        buckets: vec![edgeio_domain::child::Bucket {
            architecture: architecture.to_owned(),
            runtimes: runtimes.into_iter().collect(),
            workers: 1,
            free: allocatable,
            largest: allocatable,
        }],
        includes_revision: 0,
    }
}

/// What a runtime shows of one instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sight {
    /// Where it stands.
    pub seen: Seen,
    /// How the runtime names it.
    pub handle: String,
    /// The image digest that it uses, where the runtime told.
    pub image_digest: String,
    /// When its run began, by the machine's wall clock.
    pub running_since: Option<Time>,
    /// When its run ended, by the same clock.
    pub finished_at: Option<Time>,
}

impl Sight {
    /// The runtime has nothing of it.
    #[must_use]
    pub fn absent() -> Self {
        Self::bare(Seen::Absent)
    }

    /// A sight without details.
    #[must_use]
    pub fn bare(seen: Seen) -> Self {
        Self {
            seen,
            handle: String::new(),
            image_digest: String::new(),
            running_since: None,
            finished_at: None,
        }
    }
}

/// The answer to [`Effect::List`].
#[derive(Clone, Debug)]
pub struct Listing {
    /// The runtime that was asked.
    pub runtime: RuntimeKind,
    /// Everything of this worker that it has, or why it did not answer.
    pub result: Result<Vec<(AssignmentId, Sight)>, Fault>,
}

/// What a failure means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultClass {
    /// It may go away by itself.
    Retry,
    /// The same request fails again on this machine until somebody changes something there.
    Permanent,
    /// The runtime has no way to do it: the instance belongs elsewhere.
    Unsupported,
    /// The runtime does not have the instance.
    Gone,
    /// It was ended by [`Effect::Cancel`].
    Cancelled,
}

/// Why an effect did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What it means.
    pub class: FaultClass,
    /// A stable word, such as ImagePull.
    pub reason: String,
    /// For people, with the remedy where there is one.
    pub message: String,
}

/// How an [`Op`] ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done; so it stands now.
    Seen(Sight),
    /// The output that was asked for.
    Tail(Vec<u8>),
    /// Not done. How the instance stands is unknown.
    Fault(Fault),
}

/// What to do with one instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpKind {
    /// Pull, create and start; what is there is adopted.
    Ensure(Box<JobSpec>),
    /// Start again what ended.
    Rerun(Box<JobSpec>),
    /// Stop it if it runs, then start it again; make it where it is missing.
    Restart(Box<JobSpec>),
    /// Ask it to end, kill it after `grace`, remove what is left. Missing is success.
    Stop {
        /// From TERM to KILL.
        grace: Duration,
    },
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Ask the runtime how it stands.
    Look,
    /// Read the last of its output: [`TAIL_BYTES`] at most.
    Tail,
}

/// Most bytes of output that are reported.
pub const TAIL_BYTES: usize = 4096;

/// Work on one instance. At most one is under way per instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Op {
    /// The instance.
    pub id: AssignmentId,
    /// The runtime to ask.
    pub runtime: RuntimeKind,
    /// What to do.
    pub kind: OpKind,
}

/// What the node wants done. Losing any of them, with the node, changes only timing.
#[derive(Clone, PartialEq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "an effect is made, moved once and gone; a box would cost more than the room"
)]
pub enum Effect {
    /// Send this to the parent.
    Send(v1::ChildMessage),
    /// Do this and answer by [`super::Node::finished`].
    Run(Op),
    /// End the work that is under way for this instance if that is safe, as it is while an image is pulled. It is answered by
    /// [`super::Node::finished`] in any case.
    Cancel(AssignmentId),
    /// List what this runtime has of this worker, from now on, and answer by [`super::Node::seen`].
    List(RuntimeKind),
    /// The parent does not know this worker: register again, then call [`super::Node::connect`].
    Register(String),
    /// The parent has gone silent: call [`super::Node::connect`] with a fresh id.
    Reattach,
    /// The parent speaks no version of the protocol that this worker knows; it is asked again only after a new
    /// [`super::Node::connect`].
    Incompatible(String),
}
