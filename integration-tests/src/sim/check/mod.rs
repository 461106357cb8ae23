//! The invariants, judged by the runtimes' own record and by what databases commit. Names are those of the fault model.

mod converge;
mod dump;
mod link;
mod pairs;
mod record;
mod tiers;
mod way;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeio_domain::{
    child::Accepted,
    ids::{AppUid, AssignmentId, ChildId, Lineage, SlotId, SpecHash},
    name::Name,
    records::{Assignment, Desired},
    time::Time,
};
use edgeio_store::{Revision, memory::Snapshot};

use super::{kind::VERSIONS, queue::Part, tier::Cluster, users::User};
use pairs::Pair;
use way::Way;

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

impl From<&Assignment> for Row {
    fn from(a: &Assignment) -> Self {
        Self {
            slot: a.slot,
            child: a.child,
            desired: a.desired,
        }
    }
}

/// A replica by its number: the application, the service, the ordinal. A service that is scaled down and up again has one
/// slot after the other for it.
type Number = (AppUid, Name, u32);

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
    /// What each slot is a replica of, as its owner has it.
    numbers: BTreeMap<SlotId, Number>,
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
    /// What was held and not wanted, as somebody decided: assignments and slots.
    decided: BTreeSet<AssignmentId>,
    /// What each tier heard.
    ways: BTreeMap<usize, Way>,
    /// Children that an operator released or fenced.
    released: BTreeSet<ChildId>,
    fenced: BTreeSet<ChildId>,
    /// The specs of exclusive services, and their instances.
    exclusive_specs: BTreeSet<SpecHash>,
    pub(super) exclusive: BTreeSet<AssignmentId>,
    /// The machine of each instance.
    places: BTreeMap<AssignmentId, usize>,
    /// Copies that run at the same time.
    pairs: Vec<Pair>,
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
    /// Children that an operator forgot: once the records of that are removed, what they run is nobody's.
    pub(super) forgotten: BTreeSet<ChildId>,
}

impl Memory {
    fn index(part: Part) -> usize {
        match part {
            Part::Cluster(cluster) => cluster + 1,
            Part::Root(_) | Part::Bridge(_) | Part::Worker(_) => 0,
        }
    }

    /// The tier of `part` has another database, with that content.
    pub(super) fn lost(&mut self, part: Part, snapshot: &Snapshot) {
        let seen = self.seen.entry(Self::index(part)).or_default();
        seen.revision = snapshot.revision();
        seen.rows = snapshot
            .assignments()
            .map(|a| (a.id, Row::from(a)))
            .collect();
    }

    /// The users, before anything happens.
    pub(super) fn know(&mut self, users: &[User]) {
        let exclusive = users.iter().filter(|user| user.kind.is_exclusive());
        let specs = exclusive.flat_map(|user| (0..VERSIONS).map(|v| user.kind.hash(v)));
        self.exclusive_specs = specs.collect();
    }

    /// An operator had a word about a silent child.
    pub(super) fn judged(&mut self, child: ChildId, fence: bool) {
        let set = if fence {
            &mut self.fenced
        } else {
            &mut self.released
        };
        set.insert(child);
    }

    /// What is held is not wanted.
    pub(super) fn decided(&mut self, id: AssignmentId) {
        self.decided.insert(id);
    }

    /// A tier was told something by a child.
    pub(super) fn word(&mut self, part: Part, now: Time, lease: Duration) {
        let way = self.ways.entry(Self::index(part)).or_default();
        way.word(now, lease);
    }

    /// A tier recorded what a child said.
    pub(super) fn recorded(&mut self, part: Part, child: ChildId, now: Time) {
        let way = self.ways.entry(Self::index(part)).or_default();
        way.heard(child, now);
    }

    /// Whether a tier may replace what a child runs that it does not hear.
    fn may_replace(&self, part: Part, child: ChildId) -> bool {
        let way = self.ways.get(&Self::index(part));
        self.released.contains(&child)
            || self.fenced.contains(&child)
            || way.is_some_and(|way| way.is_evident(child))
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

    /// Whether two slots of their owners are of one replica.
    fn is_same(&self, a: SlotId, b: SlotId) -> bool {
        let number = |slot| self.numbers.get(&slot);
        a == b || number(a).is_some_and(|a| Some(a) == number(b))
    }

    /// Whether an instance, or the root's assignment behind it, is among these.
    fn is_in(&self, set: &BTreeSet<AssignmentId>, instance: AssignmentId) -> bool {
        let upper = self.of_instance.get(&instance).map(|s| AssignmentId(s.0));
        set.contains(&instance) || upper.is_some_and(|id| set.contains(&id))
    }
}
