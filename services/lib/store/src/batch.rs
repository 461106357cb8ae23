//! What a write transaction has staged, reduced to one end for each record.
//!
//! Both stores apply a [`Batch`], so a record that is written three times in a transaction costs one row, and what
//! "applied in the order they are staged" means is decided once. Deliberately absent: how anything is stored.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    child::Child,
    ids::{AppUid, AssignmentId, ChildId, SlotId, SpecHash},
    name::Name,
    plant::{self, Plant},
    records::{AppKey, Application, Assignment, Event, Slot},
    time::Time,
};
use uuid::Uuid;

use crate::{
    access::{Namespace, User, UserToken},
    api::{Change, ChangeKind, Fence, Lease, Meta, RequestRecord, Revision, StoreError, Write},
    audit::{AuditEntry, AuditHead, AuditRecord},
    joins::{Bridge, JoinToken},
};

/// Which order_revision a staged assignment gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// That of the commit.
    Now,
    /// The recorded one; the record's if there is none.
    Keep,
    /// The record's: the one that was recorded is removed in the same commit.
    Given,
}

/// An id that was stopped for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tombstone {
    /// When.
    pub(crate) at: Time,
    /// The child that may still run it.
    pub(crate) child: Option<ChildId>,
}

/// The end that a commit puts to each record it touches; `None` removes it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Batch {
    pub(crate) applications: BTreeMap<AppUid, Option<Application>>,
    pub(crate) specs: BTreeMap<SpecHash, Vec<u8>>,
    pub(crate) slots: BTreeMap<SlotId, Option<Slot>>,
    pub(crate) assignments: BTreeMap<AssignmentId, Option<(Assignment, Order)>>,
    pub(crate) children: BTreeMap<ChildId, Option<Child>>,
    pub(crate) tombstones: BTreeMap<Uuid, Tombstone>,
    pub(crate) meta: Option<Meta>,
    pub(crate) events: Vec<Event>,
    pub(crate) requests: BTreeMap<String, RequestRecord>,
    pub(crate) compact: Option<Time>,
    pub(crate) leases: BTreeMap<String, Option<Lease>>,
    pub(crate) fence: Option<Fence>,
    pub(crate) users: BTreeMap<Uuid, Option<User>>,
    pub(crate) user_tokens: BTreeMap<String, Option<UserToken>>,
    pub(crate) namespaces: BTreeMap<String, Option<Namespace>>,
    pub(crate) audit: Vec<AuditRecord>,
    pub(crate) join_tokens: Vec<JoinToken>,
    pub(crate) join_revoked: Vec<(String, Time)>,
    pub(crate) join_uses: Vec<(String, Time)>,
    pub(crate) bridges: BTreeMap<Uuid, Option<Bridge>>,
    staged: bool,
    /// Something is staged that loops must hear of.
    counts: bool,
}

/// What is recorded of the records that a batch removes: the log of changes names what is gone.
#[derive(Default, Debug)]
pub(crate) struct Gone {
    /// Applications: uid, namespace, name.
    pub(crate) applications: Vec<(AppUid, String, String)>,
    /// Slots, and the slots of assignments: id, namespace, application.
    pub(crate) slots: Vec<(SlotId, String, String)>,
    /// Children: id, name.
    pub(crate) children: Vec<(ChildId, String)>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        !self.staged
    }

    pub(crate) fn stage(&mut self, write: Write) {
        self.staged = true;
        self.counts |= !matches!(
            write,
            Write::PutLease(_)
                | Write::DeleteLease(_)
                | Write::PutUser(_)
                | Write::DeleteUser(_)
                | Write::PutUserToken(_)
                | Write::DeleteUserToken(_)
                | Write::PutNamespace(_)
                | Write::DeleteNamespace(_)
                | Write::PutJoinToken(_)
                | Write::RevokeJoinToken { .. }
                | Write::UseJoinToken { .. }
                | Write::PutBridge(_)
                | Write::DeleteBridge(_)
                | Write::Audit(_)
        );
        match write {
            Write::PutApplication(application) => {
                self.applications.insert(application.uid, Some(application));
            }
            Write::DeleteApplication(uid) => {
                self.applications.insert(uid, None);
            }
            Write::PutSpec(hash, body) => {
                self.specs.entry(hash).or_insert(body);
            }
            Write::PutSlot(slot) => {
                self.slots.insert(slot.id, Some(slot));
            }
            Write::DeleteSlot(id) => {
                self.slots.insert(id, None);
            }
            Write::PutAssignment {
                assignment,
                ordered,
            } => {
                let before = match self.assignments.get(&assignment.id) {
                    None => Order::Keep,
                    Some(None) => Order::Given,
                    Some(Some((earlier, order))) => {
                        // What was recorded first in this transaction is the recorded one for what follows.
                        let given = earlier.order_revision;
                        let order = *order;
                        self.put_assignment(assignment, ordered, order, Some(given));
                        return;
                    }
                };
                self.put_assignment(assignment, ordered, before, None);
            }
            Write::DeleteAssignment(id) => {
                self.assignments.insert(id, None);
            }
            Write::PutChild(child) => {
                self.children.insert(child.id, Some(child));
            }
            Write::DeleteChild(id) => {
                self.children.insert(id, None);
            }
            Write::PutTombstone(id, at) => {
                self.tombstones.insert(id, Tombstone { at, child: None });
            }
            Write::Bury { id, at, child } => {
                let child = (!plant::on(Plant::DropTombstoneAtRetention)).then_some(child);
                self.tombstones.insert(id, Tombstone { at, child });
            }
            Write::PutLease(lease) => {
                self.leases.insert(lease.name.clone(), Some(lease));
            }
            Write::DeleteLease(name) => {
                self.leases.insert(name, None);
            }
            Write::PutUser(user) => {
                self.users.insert(user.id, Some(user));
            }
            Write::DeleteUser(id) => {
                self.users.insert(id, None);
            }
            Write::PutUserToken(token) => {
                self.user_tokens.insert(token.id.clone(), Some(token));
            }
            Write::DeleteUserToken(id) => {
                self.user_tokens.insert(id, None);
            }
            Write::PutNamespace(namespace) => {
                let name = namespace.name.to_string();
                self.namespaces.insert(name, Some(namespace));
            }
            Write::DeleteNamespace(name) => {
                self.namespaces.insert(name, None);
            }
            Write::PutJoinToken(token) => self.join_tokens.push(token),
            Write::RevokeJoinToken { id, at } => self.join_revoked.push((id, at)),
            Write::UseJoinToken { id, now } => self.join_uses.push((id, now)),
            Write::PutBridge(bridge) => {
                self.bridges.insert(bridge.id, Some(bridge));
            }
            Write::DeleteBridge(id) => {
                self.bridges.insert(id, None);
            }
            Write::Audit(record) => self.audit.push(record),
            Write::PutMeta(meta) => self.meta = Some(meta),
            Write::PutEvent(event) => self.events.push(event),
            Write::PutRequest(request) => {
                self.requests.insert(request.request_id.clone(), request);
            }
            Write::Compact(before) => self.compact = self.compact.max(Some(before)),
        }
    }

    /// Takes the staged audit as entries that follow `head`.
    pub(crate) fn chain(&mut self, mut head: AuditHead) -> Vec<AuditEntry> {
        let records = std::mem::take(&mut self.audit).into_iter();
        records
            .map(|record| {
                let entry = head.next(record);
                head = AuditHead::from(&entry);
                entry
            })
            .collect()
    }

    /// Whether the commit takes a revision.
    pub(crate) fn counts(&self) -> bool {
        self.counts
    }

    /// Compares the fence with the recorded lease of its name.
    pub(crate) fn check_fence(&self, recorded: Option<&Lease>) -> Result<(), StoreError> {
        let Some(fence) = &self.fence else {
            return Ok(());
        };
        let held = |lease: &&Lease| lease.holder == fence.holder && lease.epoch == fence.epoch;
        match recorded.filter(held) {
            Some(_) => Ok(()),
            None if plant::on(Plant::SkipEpochCheck) || plant::on(Plant::CompareEpochOutside) => {
                Ok(())
            }
            None => Err(StoreError::Fenced {
                name: fence.name.clone(),
                epoch: fence.epoch,
            }),
        }
    }

    /// The facts after this commit.
    pub(crate) fn facts(&self, recorded: Meta, revision: Revision) -> Meta {
        let fenced = self.fence.as_ref().map(|fence| fence.epoch);
        Meta {
            lineage: recorded.lineage,
            revision,
            leader_epoch: fenced.unwrap_or(recorded.leader_epoch),
            ..self.meta.unwrap_or(recorded)
        }
    }

    fn put_assignment(
        &mut self,
        mut assignment: Assignment,
        ordered: bool,
        before: Order,
        given: Option<Revision>,
    ) {
        if let Some(given) = given {
            assignment.order_revision = given;
        }
        let order = if ordered { Order::Now } else { before };
        self.assignments
            .insert(assignment.id, Some((assignment, order)));
    }

    /// Writes the commit's revision into the records. What [`Order::Keep`] means is left to the store.
    pub(crate) fn stamp(&mut self, revision: Revision) {
        for application in self.applications.values_mut().flatten() {
            application.revision = revision;
        }
        for slot in self.slots.values_mut().flatten() {
            slot.revision = revision;
        }
        for (assignment, order) in self.assignments.values_mut().flatten() {
            assignment.revision = revision;
            if *order == Order::Now {
                assignment.order_revision = revision;
            }
        }
        for child in self.children.values_mut().flatten() {
            child.revision = revision;
        }
    }

    /// The keys that staged applications want.
    pub(crate) fn wanted_keys(&self) -> Vec<&AppKey> {
        let staged = self.applications.values().flatten();
        staged.map(|application| &application.key).collect()
    }

    /// The names that staged children want.
    pub(crate) fn wanted_names(&self) -> Vec<&Name> {
        let staged = self.children.values().flatten();
        staged.filter_map(|child| child.name.as_ref()).collect()
    }

    /// Finds a name that two records would have, given who has the wanted ones now; says what exists already.
    pub(crate) fn conflict(
        &self,
        applications: &[(AppKey, AppUid)],
        children: &[(Name, ChildId)],
    ) -> Option<String> {
        let mut taken = BTreeSet::new();
        let mut keys = BTreeMap::new();
        for (key, uid) in applications {
            if !self.applications.contains_key(uid) {
                keys.insert(key, uid);
            }
        }
        for (uid, application) in &self.applications {
            if let Some(application) = application
                && keys.insert(&application.key, uid).is_some()
            {
                let AppKey {
                    namespace, name, ..
                } = &application.key;
                taken.insert(format!("application {namespace}/{name}"));
            }
        }
        let mut names = BTreeMap::new();
        for (name, id) in children {
            if !self.children.contains_key(id) {
                names.insert(name, id);
            }
        }
        for (id, child) in &self.children {
            if let Some(name) = child.as_ref().and_then(|child| child.name.as_ref())
                && names.insert(name, id).is_some()
            {
                taken.insert(format!("a child with the name {name}"));
            }
        }
        taken.into_iter().next()
    }

    /// The log's entries for this commit, by (kind, id): one for each thing, however often it was written.
    pub(crate) fn changes(&self, revision: Revision, gone: &Gone) -> Vec<Change> {
        let mut entries: BTreeMap<(ChangeKind, Uuid), (String, String)> = BTreeMap::new();
        let mut add = |kind, id, namespace: &str, name: &str| {
            entries
                .entry((kind, id))
                .or_insert_with(|| (namespace.to_owned(), name.to_owned()));
        };
        for application in self.applications.values().flatten() {
            let AppKey {
                namespace, name, ..
            } = &application.key;
            let uid = application.uid.0;
            add(
                ChangeKind::Application,
                uid,
                namespace.as_str(),
                name.as_str(),
            );
        }
        for (uid, namespace, name) in &gone.applications {
            add(ChangeKind::Application, uid.0, namespace, name);
        }
        for slot in self.slots.values().flatten() {
            let AppKey {
                namespace, name, ..
            } = &slot.app;
            add(
                ChangeKind::Slot,
                slot.id.0,
                namespace.as_str(),
                name.as_str(),
            );
        }
        for (assignment, _) in self.assignments.values().flatten() {
            let AppKey {
                namespace, name, ..
            } = &assignment.app;
            let slot = assignment.slot.0;
            add(ChangeKind::Slot, slot, namespace.as_str(), name.as_str());
        }
        for (id, namespace, name) in &gone.slots {
            add(ChangeKind::Slot, id.0, namespace, name);
        }
        for child in self.children.values().flatten() {
            let name = child.name.as_ref().map_or("", Name::as_str);
            add(ChangeKind::Child, child.id.0, "", name);
        }
        for (id, name) in &gone.children {
            add(ChangeKind::Child, id.0, "", name);
        }
        entries
            .into_iter()
            .map(|((kind, id), (namespace, name))| Change {
                revision,
                kind,
                id,
                namespace,
                name,
            })
            .collect()
    }
}
