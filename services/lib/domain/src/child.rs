//! What a tier knows of a child: who it is, what it offers and whether it is heard.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    ids::{AttachId, ChildId, Lineage},
    name::Name,
    resources::Resources,
    time::Time,
};

/// The feature of a child that stops its exclusive instances by itself once their lease is not renewed.
pub const EXCLUSIVE_LEASE: &str = "exclusive-lease";

/// Whether a child is heard. Silence never stops anything: it keeps new work away, and by evidence
/// ([`crate::liveness`]) lets substitutes be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ChildState {
    /// Known, but it has never reported.
    #[default]
    Registered,
    /// It reports.
    Ready,
    /// It missed its lease.
    Suspect,
    /// Silent for twice the lease.
    Disconnected,
    /// Back, and its state is being compared.
    Returning,
    /// It said goodbye.
    Left,
    /// Silent for longer than `lost_after`, or fenced by an operator: what was replaced is stopped when it returns.
    Lost,
}

/// Whether what a silent child runs is replaced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Replace {
    /// It is heard, or not silent for long enough.
    #[default]
    No,
    /// Silent for long enough, but no other child was heard since: the fault may be on this side.
    Unproven,
    /// It waits its turn: only so many are replaced in a minute.
    Limited,
    /// Others are heard on the same way: it is replaced.
    Proven,
    /// An operator released it: it is replaced.
    Released,
    /// An operator fenced it: it is replaced, exclusive services too.
    Fenced,
}

impl Replace {
    /// Whether substitutes may be started for what the child runs.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        matches!(self, Replace::Proven | Replace::Released | Replace::Fenced)
    }
}

impl ChildState {
    /// Whether new work may go there.
    #[must_use]
    pub fn takes_work(self) -> bool {
        self == ChildState::Ready
    }

    /// Whether its reports are fresh.
    #[must_use]
    pub fn is_heard(self) -> bool {
        matches!(self, ChildState::Ready | ChildState::Returning)
    }
}

/// Workers of one kind: one bucket for a worker, several for a cluster, also of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bucket {
    /// CPU architecture in OCI's words.
    pub architecture: String,
    /// Runtimes, sorted.
    pub runtimes: Vec<String>,
    /// Workers counted in.
    pub workers: u32,
    /// Free on all of them.
    pub free: Resources,
    /// Free on one of them; no other one has more of anything.
    pub largest: Resources,
}

/// What a child offers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capacity {
    /// Workers counted in; 1 for a worker.
    pub workers: u32,
    /// What can be placed in all.
    pub allocatable: Resources,
    /// What is not taken.
    pub free: Resources,
    /// Per kind of worker.
    pub buckets: Vec<Bucket>,
    /// The parent's revision that `free` includes.
    pub includes_revision: u64,
}

/// The point up to which a child has accepted assignments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Accepted {
    /// The database they came from.
    pub lineage: Lineage,
    /// Its issuer epoch.
    pub issuer_epoch: u64,
    /// Its revision.
    pub revision: u64,
}

/// A child as the tier records it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Child {
    /// Its id.
    pub id: ChildId,
    /// Display name, unique in the tier.
    pub name: Option<Name>,
    /// Its public nkey.
    pub public_key: String,
    /// The name that it asked for while another child has it. An operator may give it that name.
    pub wished: Option<Name>,
    /// `host:port` of its API, if it told one.
    pub address: String,
    /// Version of its software.
    pub version: String,
    /// Its inventory as it told it, encoded (`edgeio.cluster.v1.Inventory`); empty for a cluster.
    pub inventory: Vec<u8>,
    /// What it offers.
    pub capacity: Capacity,
    /// Whether it is heard.
    pub state: ChildState,
    /// Its newest session; 0 before the first.
    pub session_epoch: u64,
    /// The attempt that opened that session.
    pub attach: AttachId,
    /// A full report is awaited before anything is sent to it.
    pub adopting: bool,
    /// How long it has been silent, as far as this tier was there to hear it; recorded now and then, so that a restart of
    /// the tier goes on counting. Nothing when it is heard.
    pub silence: Duration,
    /// Whether what it runs is replaced.
    pub replace: Replace,
    /// The replica of the tier that holds its newest session.
    pub holder: Option<uuid::Uuid>,
    /// The features that it and this tier have, as they were settled when it opened its newest session. `None` before the
    /// first one, and in a record of a version that did not keep them.
    pub features: Option<BTreeSet<String>>,
    /// Boot id of its machine.
    pub boot_id: String,
    /// When it was last recorded as heard, by this tier's wall clock.
    pub last_heard: Time,
    /// When it was made known.
    pub created_at: Time,
    /// Revision of its last change.
    pub revision: u64,
}

impl Child {
    /// Whether it is known to have a feature.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        let features = self.features.as_ref();
        features.is_some_and(|features| features.contains(feature))
    }

    /// What people call it.
    #[must_use]
    pub fn display(&self) -> String {
        self.name
            .as_ref()
            .map_or_else(|| self.id.to_string(), ToString::to_string)
    }
}
