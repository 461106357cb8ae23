//! The records that a batch of reports touches: read once, changed in memory, staged once.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    child::Child,
    ids::{AppUid, AssignmentId, ChildId, SlotId},
    records::{Application, Assignment, Owner, Slot},
    time::Time,
};
use edgeio_store::{ApplicationFilter, AssignmentFilter, SlotFilter, StoreError, Write, WriteTx};
use uuid::Uuid;

/// A row and what becomes of it.
#[derive(Clone)]
struct Row {
    before: Option<Assignment>,
    now: Option<Assignment>,
    ordered: bool,
}

/// The working set.
pub(super) struct Work {
    rows: BTreeMap<AssignmentId, Row>,
    slots: BTreeMap<SlotId, Slot>,
    changed_slots: BTreeSet<SlotId>,
    children: BTreeMap<ChildId, (Child, Child)>,
    /// Applications that children own: as recorded, and what becomes of them.
    applications: BTreeMap<AppUid, (Option<Application>, Option<Application>)>,
    tombstones: BTreeSet<Uuid>,
    writes: Vec<Write>,
    /// Children with something that is not in the database.
    pub(super) found: BTreeSet<ChildId>,
    /// Children that told of what is another's, and the first thing of it.
    pub(super) foreign: BTreeMap<ChildId, String>,
}

impl Work {
    /// Reads what reports about these ids and slots of these children may touch.
    pub(super) async fn read(
        tx: &dyn WriteTx,
        children: &BTreeSet<ChildId>,
        ids: &BTreeSet<AssignmentId>,
        slots: &BTreeSet<SlotId>,
    ) -> Result<Self, StoreError> {
        let of_children = tx
            .children()
            .await?
            .into_iter()
            .filter(|c| children.contains(&c.id));
        let children = of_children.map(|c| (c.id, (c.clone(), c))).collect();
        let filter = AssignmentFilter {
            ids: Some(ids.iter().copied().collect()),
            ..Default::default()
        };
        let row = |a: Assignment| {
            (
                a.id,
                Row {
                    before: Some(a.clone()),
                    now: Some(a),
                    ordered: false,
                },
            )
        };
        let rows: BTreeMap<AssignmentId, Row> = tx
            .assignments(&filter)
            .await?
            .into_iter()
            .map(row)
            .collect();
        let mut wanted: BTreeSet<SlotId> = slots.clone();
        wanted.extend(
            rows.values()
                .filter_map(|row| row.now.as_ref())
                .map(|a| a.slot),
        );
        let filter = SlotFilter {
            ids: Some(wanted.iter().copied().collect()),
            ..Default::default()
        };
        let found = tx
            .slots(&filter)
            .await?
            .into_iter()
            .map(|s| (s.id, s))
            .collect();
        let all: Vec<Uuid> = ids
            .iter()
            .map(|id| id.0)
            .chain(wanted.iter().map(|id| id.0))
            .collect();
        let tombstones = tx.tombstones(&all).await?.into_iter().collect();
        Ok(Self {
            rows,
            slots: found,
            changed_slots: BTreeSet::new(),
            children,
            applications: BTreeMap::new(),
            tombstones,
            writes: Vec::new(),
            found: BTreeSet::new(),
            foreign: BTreeMap::new(),
        })
    }

    /// Adds the rows of a child that are not in yet.
    pub(super) async fn read_child(
        &mut self,
        tx: &dyn WriteTx,
        child: ChildId,
    ) -> Result<(), StoreError> {
        let filter = AssignmentFilter {
            child: Some(child),
            ..Default::default()
        };
        for assignment in tx.assignments(&filter).await? {
            self.rows.entry(assignment.id).or_insert(Row {
                before: Some(assignment.clone()),
                now: Some(assignment),
                ordered: false,
            });
        }
        Ok(())
    }

    /// Adds the applications that a child owns, and those that it names, whoever owns them.
    pub(super) async fn read_applications(
        &mut self,
        tx: &dyn WriteTx,
        child: ChildId,
        named: impl Iterator<Item = AppUid>,
    ) -> Result<(), StoreError> {
        let filter = ApplicationFilter {
            owner: Some(Owner::Cluster(child)),
            ..Default::default()
        };
        for application in tx.applications(&filter).await? {
            self.applications
                .entry(application.uid)
                .or_insert_with(|| (Some(application.clone()), Some(application)));
        }
        for uid in named {
            if !self.applications.contains_key(&uid)
                && let Some(application) = tx.application(uid).await?
            {
                let ends = (Some(application.clone()), Some(application));
                self.applications.insert(uid, ends);
            }
        }
        Ok(())
    }

    /// An application that a child owns, if it was read.
    pub(super) fn application(&self, uid: AppUid) -> Option<&Application> {
        self.applications.get(&uid)?.1.as_ref()
    }

    /// Puts an application that a child owns. Another one of its name is gone: the child has only one.
    pub(super) fn put_application(&mut self, application: Application) {
        for (uid, (_, now)) in &mut self.applications {
            if *uid != application.uid && now.as_ref().is_some_and(|a| a.key == application.key) {
                *now = None;
            }
        }
        let ends = self.applications.entry(application.uid).or_default();
        ends.1 = Some(application);
    }

    /// The child owns this application no more.
    pub(super) fn lose_application(&mut self, child: ChildId, uid: AppUid) {
        if let Some((_, now)) = self.applications.get_mut(&uid)
            && now
                .as_ref()
                .is_some_and(|a| a.key.owner == Owner::Cluster(child))
        {
            *now = None;
        }
    }

    /// The child owns these applications and no others.
    pub(super) fn keep_applications(&mut self, child: ChildId, uids: &BTreeSet<AppUid>) {
        let all: Vec<AppUid> = self.applications.keys().copied().collect();
        for uid in all.into_iter().filter(|uid| !uids.contains(uid)) {
            self.lose_application(child, uid);
        }
    }

    pub(super) fn child(&self, id: ChildId) -> Option<&Child> {
        self.children.get(&id).map(|(_, now)| now)
    }

    pub(super) fn change_child(&mut self, id: ChildId, change: impl FnOnce(&mut Child)) {
        if let Some((_, now)) = self.children.get_mut(&id) {
            change(now);
        }
    }

    pub(super) fn assignment(&self, id: AssignmentId) -> Option<&Assignment> {
        self.rows.get(&id).and_then(|row| row.now.as_ref())
    }

    /// The rows of a child, as far as they are in.
    pub(super) fn of_child(&self, child: ChildId) -> impl Iterator<Item = &Assignment> {
        self.rows
            .values()
            .filter_map(|row| row.now.as_ref())
            .filter(move |a| a.child == child)
    }

    pub(super) fn slot(&self, id: SlotId) -> Option<&Slot> {
        self.slots.get(&id)
    }

    pub(super) fn change_slot(&mut self, id: SlotId, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.get_mut(&id) {
            change(slot);
            self.changed_slots.insert(id);
        }
    }

    pub(super) fn is_tombstoned(&self, id: Uuid) -> bool {
        self.tombstones.contains(&id)
    }

    /// Puts an assignment; with `ordered` the link sends it.
    pub(super) fn put(&mut self, assignment: Assignment, ordered: bool) {
        let row = self.rows.entry(assignment.id).or_insert(Row {
            before: None,
            now: None,
            ordered: false,
        });
        row.ordered |= ordered;
        row.now = Some(assignment);
    }

    pub(super) fn delete(&mut self, id: AssignmentId) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.now = None;
        }
    }

    /// Notes that a child told of what is another's.
    pub(super) fn foreign(&mut self, child: ChildId, object: String) {
        self.foreign.entry(child).or_insert(object);
    }

    pub(super) fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Stages what changed; the children whose rows changed, and those that get orders by it.
    pub(super) fn stage(
        mut self,
        tx: &mut dyn WriteTx,
        now: Time,
    ) -> (BTreeSet<ChildId>, BTreeSet<ChildId>) {
        let (mut touched, mut ordered) = (BTreeSet::new(), BTreeSet::new());
        for (before, mut after) in self.children.into_values() {
            if before != after {
                after.last_heard = now;
                touched.insert(after.id);
                tx.stage(Write::PutChild(after));
            }
        }
        for (uid, ends) in self.applications {
            let owner = |app: &Application| match app.key.owner {
                Owner::Cluster(child) => Some(child),
                Owner::Root => None,
            };
            match ends {
                (before, Some(after)) if before.as_ref() != Some(&after) => {
                    touched.extend(owner(&after));
                    tx.stage(Write::PutApplication(after));
                }
                (Some(before), None) => {
                    touched.extend(owner(&before));
                    tx.stage(Write::DeleteApplication(uid));
                }
                (Some(_) | None, Some(_)) | (None, None) => {}
            }
        }
        for id in self.changed_slots {
            if let Some(slot) = self.slots.remove(&id) {
                tx.stage(Write::PutSlot(slot));
            }
        }
        for (id, row) in self.rows {
            match (row.before, row.now) {
                (before, Some(after)) if before.as_ref() != Some(&after) || row.ordered => {
                    touched.insert(after.child);
                    if row.ordered {
                        ordered.insert(after.child);
                    }
                    tx.stage(Write::PutAssignment {
                        assignment: after,
                        ordered: row.ordered,
                    });
                }
                (Some(before), None) => {
                    touched.insert(before.child);
                    tx.stage(Write::DeleteAssignment(id));
                }
                (Some(_) | None, Some(_)) | (None, None) => {}
            }
        }
        for write in self.writes {
            tx.stage(write);
        }
        (touched, ordered)
    }
}
