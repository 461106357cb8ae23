//! Looking at what is committed without copying it, for the simulator's checks, which do so after every step.

use edgeio_domain::{
    child::Child,
    ids::{AppUid, AssignmentId, ChildId, SlotId},
    records::{Application, Assignment, Slot},
};
use uuid::Uuid;

use super::Snapshot;
use crate::api::{Change, Lease, Meta, Revision};

impl Snapshot {
    /// Facts of the database.
    #[must_use]
    pub fn meta(&self) -> Meta {
        self.0.meta
    }

    /// All applications, by uid.
    pub fn applications(&self) -> impl Iterator<Item = &Application> {
        self.0.applications.values()
    }

    /// One application.
    #[must_use]
    pub fn application(&self, uid: AppUid) -> Option<&Application> {
        self.0.applications.get(&uid)
    }

    /// All slots, by id.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.0.slots.values()
    }

    /// One slot.
    #[must_use]
    pub fn slot(&self, id: SlotId) -> Option<&Slot> {
        self.0.slots.get(&id)
    }

    /// All assignments, by id.
    pub fn assignments(&self) -> impl Iterator<Item = &Assignment> {
        self.0.assignments.values()
    }

    /// One assignment.
    #[must_use]
    pub fn assignment(&self, id: AssignmentId) -> Option<&Assignment> {
        self.0.assignments.get(&id)
    }

    /// All children, by id.
    pub fn children(&self) -> impl Iterator<Item = &Child> {
        self.0.children.values()
    }

    /// One child.
    #[must_use]
    pub fn child(&self, id: ChildId) -> Option<&Child> {
        self.0.children.get(&id)
    }

    /// Whether the id was stopped for good.
    #[must_use]
    pub fn is_tombstoned(&self, id: Uuid) -> bool {
        self.0.tombstones.contains_key(&id)
    }

    /// A lease.
    #[must_use]
    pub fn lease(&self, name: &str) -> Option<&Lease> {
        self.0.leases.get(name)
    }

    /// The newest revision at which a record changed that is not a lease.
    #[must_use]
    pub fn newest_change(&self) -> Revision {
        self.0.changes.keys().next_back().copied().unwrap_or(0)
    }

    /// What changed after a revision, as far as that is kept.
    pub fn changes(&self, since: Revision) -> impl Iterator<Item = &Change> {
        let commits = self.0.changes.range(since.saturating_add(1)..);
        commits.flat_map(|(_, (_, changes))| changes)
    }
}
