//! The invariants, judged by the runtimes' own record and by what databases commit. Names are those of the fault model.

mod converge;
mod dump;
mod link;
mod record;
mod tiers;

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    child::Accepted,
    ids::{AssignmentId, ChildId, Lineage, SlotId},
    records::Desired,
};
use edgeio_store::Revision;

use super::{queue::Part, tier::Cluster};

/// An invariant that does not hold.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) invariant: &'static str,
    pub(super) what: String,
}

impl Broken {
    pub(super) fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what }
    }
}

/// An assignment as a database had it when it was looked at last.
#[derive(Clone, Copy)]
struct Row {
    slot: SlotId,
    child: ChildId,
    desired: Desired,
}

/// What the checks know of one database.
#[derive(Default)]
struct Seen {
    revision: Revision,
    rows: BTreeMap<AssignmentId, Row>,
}

/// What the checks remember.
#[derive(Default)]
pub(super) struct Memory {
    /// The root's database first, then those of the clusters.
    seen: BTreeMap<usize, Seen>,
    /// The root's slot of each of the root's assignments, which are the clusters' slots.
    slots: BTreeMap<SlotId, SlotId>,
    /// The cluster's slot of each instance.
    of_instance: BTreeMap<AssignmentId, SlotId>,
    /// Assignments, of any tier, that a tier ordered to stop.
    stopped: BTreeSet<AssignmentId>,
    /// Instances that a runtime removed because its node asked for it.
    removed: BTreeSet<AssignmentId>,
    /// Assignments, of any tier, that an operator or a user gave up.
    abandoned: BTreeSet<AssignmentId>,
    /// Assignments, of any tier, that were made while another one of the same replica could not be known of.
    excused: BTreeSet<AssignmentId>,
    /// Whose stream to the root is the newest, by the cluster's id.
    streams: BTreeMap<ChildId, usize>,
    /// Clusters and workers of which there was a copy: what the copy did is taken for theirs.
    pub(super) cloned: BTreeSet<ChildId>,
    /// Workers that said to have more than they have.
    pub(super) liars: BTreeSet<usize>,
    /// Workers that told of what others have: their sessions are not to be trusted.
    pub(super) forgers: BTreeSet<usize>,
    /// The point that each child accepted last.
    accepted: BTreeMap<ChildId, Option<Accepted>>,
    /// Histories whose points may be those of another one.
    ambiguous: BTreeSet<(Lineage, u64)>,
    /// A wall clock jumped.
    pub(super) clocks_jumped: bool,
    /// Old records were removed.
    pub(super) compacted: bool,
}

impl Memory {
    fn index(part: Part) -> usize {
        match part {
            Part::Cluster(cluster) => cluster + 1,
            Part::Root(_) | Part::Bridge(_) | Part::Worker(_) => 0,
        }
    }

    /// The tier of `part` has another database, which is at that revision.
    pub(super) fn lost(&mut self, part: Part, revision: Revision) {
        let seen = self.seen.entry(Self::index(part)).or_default();
        seen.revision = revision;
        seen.rows.clear();
    }

    pub(super) fn abandon(&mut self, ids: impl Iterator<Item = AssignmentId>) {
        self.abandoned.extend(ids);
    }

    pub(super) fn open_stream(&mut self, id: ChildId, cluster: usize) {
        self.streams.insert(id, cluster);
    }

    pub(super) fn stream_of(&self, id: ChildId) -> Option<usize> {
        self.streams.get(&id).copied()
    }

    /// Copies of clusters are gone.
    pub(super) fn close_clones(&mut self, clusters: &[Cluster]) {
        self.streams
            .retain(|_, cluster| !clusters[*cluster].is_clone);
    }

    /// What an instance is a replica of: the root's slot, or the cluster's for its own applications.
    fn replica(&self, instance: AssignmentId) -> Option<SlotId> {
        let slot = self.of_instance.get(&instance)?;
        Some(self.slots.get(slot).copied().unwrap_or(*slot))
    }

    /// Whether an instance, or the root's assignment behind it, is among these.
    fn is_in(&self, set: &BTreeSet<AssignmentId>, instance: AssignmentId) -> bool {
        let upper = self.of_instance.get(&instance).map(|s| AssignmentId(s.0));
        set.contains(&instance) || upper.is_some_and(|id| set.contains(&id))
    }
}
