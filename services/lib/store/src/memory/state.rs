//! The committed state in memory and what a commit does to it.

use std::collections::BTreeMap;

use edgeio_domain::{
    child::{Child, ChildState},
    ids::{AppUid, AssignmentId, ChildId, Lineage, SlotId, SpecHash},
    name::Name,
    records::{AppKey, Application, Assignment, Event, Slot},
    time::Time,
};
use uuid::Uuid;

use super::{access::Access, joins::Joins};
use crate::{
    api::{Change, Lease, Meta, RequestRecord, Revision, StoreError},
    batch::{Batch, Gone, Order, Tombstone},
};

/// All tables.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) meta: Meta,
    pub(super) applications: BTreeMap<AppUid, Application>,
    pub(super) specs: BTreeMap<SpecHash, Vec<u8>>,
    pub(super) slots: BTreeMap<SlotId, Slot>,
    pub(super) assignments: BTreeMap<AssignmentId, Assignment>,
    pub(super) children: BTreeMap<ChildId, Child>,
    pub(super) tombstones: BTreeMap<Uuid, Tombstone>,
    pub(super) requests: BTreeMap<String, RequestRecord>,
    pub(super) leases: BTreeMap<String, Lease>,
    pub(super) access: Access,
    pub(super) joins: Joins,
    /// Oldest first.
    pub(super) events: Vec<Event>,
    /// Per commit, with its time.
    pub(super) changes: BTreeMap<Revision, (Time, Vec<Change>)>,
    /// Changes up to this one are no longer kept.
    pub(super) compacted: Revision,
}

impl State {
    pub(super) fn new(lineage: Lineage) -> Self {
        Self {
            meta: Meta {
                lineage,
                ..Meta::default()
            },
            applications: BTreeMap::new(),
            specs: BTreeMap::new(),
            slots: BTreeMap::new(),
            assignments: BTreeMap::new(),
            children: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            requests: BTreeMap::new(),
            leases: BTreeMap::new(),
            access: Access::new(),
            joins: Joins::default(),
            events: Vec::new(),
            changes: BTreeMap::new(),
            compacted: 0,
        }
    }

    /// Whether the batch's lease is held, and whether it would give two records one name.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), StoreError> {
        let fence = batch.fence.as_ref();
        batch.check_fence(fence.and_then(|fence| self.leases.get(&fence.name)))?;
        self.joins.check(batch)?;
        let mut applications: Vec<(AppKey, AppUid)> = Vec::new();
        if !batch.wanted_keys().is_empty() {
            let all = self.applications.values();
            applications.extend(all.map(|application| (application.key.clone(), application.uid)));
        }
        let mut children: Vec<(Name, ChildId)> = Vec::new();
        if !batch.wanted_names().is_empty() {
            let all = self.children.values();
            children.extend(all.filter_map(|child| Some((child.name.clone()?, child.id))));
        }
        match batch.conflict(&applications, &children) {
            Some(what) => Err(StoreError::Exists { what }),
            None => Ok(()),
        }
    }

    /// Applies a batch that was checked; answers its revision.
    pub(super) fn apply(&mut self, mut batch: Batch, at: Time) -> Revision {
        merge(&mut self.leases, std::mem::take(&mut batch.leases));
        self.access.apply(&mut batch);
        self.joins.apply(&mut batch);
        if !batch.counts() {
            return self.meta.revision;
        }
        let revision = self.meta.revision + 1;
        self.meta = batch.facts(self.meta, revision);
        batch.stamp(revision);
        let changes = batch.changes(revision, &self.gone(&batch));

        merge(&mut self.applications, batch.applications);
        merge(&mut self.slots, batch.slots);
        merge(&mut self.children, batch.children);
        for (id, end) in batch.assignments {
            let Some((mut assignment, order)) = end else {
                self.assignments.remove(&id);
                continue;
            };
            if order == Order::Keep
                && let Some(recorded) = self.assignments.get(&id)
            {
                assignment.order_revision = recorded.order_revision;
            }
            self.assignments.insert(id, assignment);
        }
        for (hash, body) in batch.specs {
            self.specs.entry(hash).or_insert(body);
        }
        self.tombstones.extend(batch.tombstones);
        self.requests.extend(batch.requests);
        self.events.extend(batch.events);
        if let Some(before) = batch.compact {
            self.compact(before);
        }
        if !changes.is_empty() {
            self.changes.insert(revision, (at, changes));
        }
        revision
    }

    fn gone(&self, batch: &Batch) -> Gone {
        let mut gone = Gone::default();
        for (uid, end) in &batch.applications {
            if let (None, Some(application)) = (end, self.applications.get(uid)) {
                let (namespace, name) = names(&application.key);
                gone.applications.push((*uid, namespace, name));
            }
        }
        for (id, end) in &batch.slots {
            if let (None, Some(slot)) = (end, self.slots.get(id)) {
                let (namespace, name) = names(&slot.app);
                gone.slots.push((*id, namespace, name));
            }
        }
        for (id, end) in &batch.assignments {
            if let (None, Some(assignment)) = (end, self.assignments.get(id)) {
                let (namespace, name) = names(&assignment.app);
                gone.slots.push((assignment.slot, namespace, name));
            }
        }
        for (id, end) in &batch.children {
            if let (None, Some(child)) = (end, self.children.get(id)) {
                let name = child.name.as_ref().map_or("", Name::as_str);
                gone.children.push((*id, name.to_owned()));
            }
        }
        gone
    }

    fn compact(&mut self, before: Time) {
        self.events.retain(|event| event.at >= before);
        self.requests.retain(|_, request| request.at >= before);
        self.joins.compact(before);
        let untold = |child: &ChildId| {
            let child = self.children.get(child);
            child.is_some_and(|child| child.state != ChildState::Ready)
        };
        self.tombstones.retain(|_, tombstone| {
            tombstone.at >= before || tombstone.child.as_ref().is_some_and(untold)
        });
        let services = self.applications.values().flat_map(|app| &app.services);
        let used: std::collections::BTreeSet<SpecHash> = services
            .map(|service| service.spec_hash)
            .chain(self.slots.values().map(|slot| slot.spec_hash))
            .chain(self.assignments.values().map(|a| a.spec_hash))
            .collect();
        self.specs.retain(|hash, _| used.contains(hash));
        // By revision, not each by its time: the wall clock may have jumped, and a log with holes would lie.
        let old = self.changes.iter().filter(|(_, (at, _))| *at < before);
        if let Some(newest) = old.map(|(revision, _)| *revision).max() {
            self.compacted = newest;
            self.changes.retain(|revision, _| *revision > newest);
        }
    }
}

pub(super) fn merge<K: Ord, V>(table: &mut BTreeMap<K, V>, ends: BTreeMap<K, Option<V>>) {
    for (key, end) in ends {
        match end {
            Some(record) => {
                table.insert(key, record);
            }
            None => {
                table.remove(&key);
            }
        }
    }
}

fn names(key: &AppKey) -> (String, String) {
    (
        key.namespace.as_str().to_owned(),
        key.name.as_str().to_owned(),
    )
}
