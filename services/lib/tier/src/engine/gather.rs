//! What the engine looks at, read in one transaction.

use std::collections::BTreeMap;

use edgeio_domain::{
    child::Child,
    ids::{AppUid, AssignmentId, ChildId, SlotId, SpecHash},
    plan::tier::SlotView,
    records::{Application, Assignment, Owner, Slot},
};
use edgeio_scheduler::{Candidate, Pool};
use edgeio_store::{ApplicationFilter, AssignmentFilter, ReadTx, SlotFilter, StoreError};

use super::demands::Demands;

/// The state of a tier.
pub(crate) struct Gathered {
    pub(crate) applications: BTreeMap<AppUid, Application>,
    pub(crate) slots: BTreeMap<SlotId, Slot>,
    pub(crate) assignments: BTreeMap<AssignmentId, Assignment>,
    pub(crate) children: BTreeMap<ChildId, Child>,
}

impl Gathered {
    /// Reads everything that is this tier's to plan and to count. What a cluster owns and only tells of is not: nothing is
    /// ordered of it here, and the cluster's own numbers count what it takes.
    pub(crate) async fn read(tx: &dyn ReadTx, own: Owner) -> Result<Self, StoreError> {
        let mut applications = tx.applications(&ApplicationFilter::default()).await?;
        if own == Owner::Root {
            applications.retain(|application| application.key.owner == own);
        }
        let slots = tx.slots(&SlotFilter::default()).await?;
        let mut assignments = tx.assignments(&AssignmentFilter::default()).await?;
        assignments.retain(|assignment| !assignment.is_mirror());
        let children = tx.children().await?;
        Ok(Self {
            applications: applications.into_iter().map(|a| (a.uid, a)).collect(),
            slots: slots.into_iter().map(|s| (s.id, s)).collect(),
            assignments: assignments.into_iter().map(|a| (a.id, a)).collect(),
            children: children.into_iter().map(|c| (c.id, c)).collect(),
        })
    }

    /// Every spec that something asks for.
    pub(crate) fn hashes(&self) -> Vec<SpecHash> {
        let of_services = self
            .applications
            .values()
            .flat_map(|a| a.services.iter().map(|s| s.spec_hash));
        let mut hashes: Vec<SpecHash> = of_services
            .chain(self.slots.values().map(|s| s.spec_hash))
            // What is outdated says itself whether it may be replaced.
            .chain(self.assignments.values().map(|a| a.spec_hash))
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// Slots by application, each with its assignments.
    pub(crate) fn views(&self) -> BTreeMap<AppUid, Vec<SlotView<'_>>> {
        let mut of_slot: BTreeMap<SlotId, Vec<&Assignment>> = BTreeMap::new();
        for assignment in self.assignments.values() {
            of_slot.entry(assignment.slot).or_default().push(assignment);
        }
        let mut views: BTreeMap<AppUid, Vec<SlotView<'_>>> = BTreeMap::new();
        for uid in self.applications.keys() {
            views.entry(*uid).or_default();
        }
        for slot in self.slots.values() {
            let assignments = of_slot.remove(&slot.id).unwrap_or_default();
            views
                .entry(slot.app_uid)
                .or_default()
                .push(SlotView { slot, assignments });
        }
        views
    }

    /// The candidates, with everything reserved that their own numbers do not include.
    pub(crate) fn pool(&self, noun: &str, demands: &Demands) -> Pool {
        let mut instances: BTreeMap<ChildId, u32> = BTreeMap::new();
        for assignment in self.assignments.values().filter(|a| a.takes_room()) {
            *instances.entry(assignment.child).or_default() += 1;
        }
        let candidate = |child: &Child| {
            Candidate::new(noun, child, instances.get(&child.id).copied().unwrap_or(0))
        };
        let mut pool = Pool::new(noun, self.children.values().map(candidate));
        for assignment in self.assignments.values() {
            let Some(child) = self.children.get(&assignment.child) else {
                continue;
            };
            // A worker includes nothing. What a cluster holds is in its own numbers, though no order of this tier is.
            let includes = child.capacity.includes_revision;
            let included = includes > 0 && assignment.order_revision <= includes;
            if let Ok(demand) = demands.get(assignment.spec_hash)
                && assignment.takes_room()
                && !included
            {
                pool.reserve(child.id, demand);
            }
        }
        pool
    }

    /// How many instances of the same service each child has.
    pub(crate) fn siblings(&self, uid: AppUid, service: &str) -> BTreeMap<ChildId, u32> {
        let mut count = BTreeMap::new();
        for assignment in self.assignments.values() {
            if assignment.app_uid == uid
                && assignment.service.as_str() == service
                && assignment.is_live()
            {
                *count.entry(assignment.child).or_default() += 1;
            }
        }
        count
    }
}
