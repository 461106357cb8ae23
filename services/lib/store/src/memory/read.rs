//! What is read of the state in memory: filters, orders and pages, written as plainly as they are meant.

use std::collections::BTreeSet;

use edgeio_domain::{
    ids::SpecHash,
    records::{AppKey, Application, Assignment, Event, Owner, Slot},
};
use uuid::Uuid;

use super::state::State;
use crate::api::{
    ApplicationFilter, AssignmentFilter, Change, Revision, SlotFilter, SlotPlace, StoreError,
};

impl State {
    pub(super) fn applications(&self, filter: &ApplicationFilter) -> Vec<Application> {
        let matches = |application: &&Application| {
            let key = &application.key;
            is(filter.namespace.as_deref(), key.namespace.as_str())
                && among(filter.within.as_deref(), key.namespace.as_str())
                && is(filter.name.as_deref(), key.name.as_str())
                && filter.owner.is_none_or(|owner| owner == key.owner)
                && filter
                    .after
                    .as_ref()
                    .is_none_or(|after| place(key) > place(after))
        };
        let mut found: Vec<&Application> = self.applications.values().filter(matches).collect();
        found.sort_by(|a, b| place(&a.key).cmp(&place(&b.key)));
        found
            .into_iter()
            .take(count(filter.limit))
            .cloned()
            .collect()
    }

    pub(super) fn specs(&self, hashes: &[SpecHash]) -> Vec<(SpecHash, Vec<u8>)> {
        let asked: BTreeSet<&SpecHash> = hashes.iter().collect();
        asked
            .into_iter()
            .filter_map(|hash| Some((*hash, self.specs.get(hash)?.clone())))
            .collect()
    }

    pub(super) fn slots(&self, filter: &SlotFilter) -> Vec<Slot> {
        let ids: Option<BTreeSet<_>> = filter.ids.as_ref().map(|ids| ids.iter().collect());
        let matches = |slot: &&Slot| {
            is(filter.namespace.as_deref(), slot.app.namespace.as_str())
                && among(filter.within.as_deref(), slot.app.namespace.as_str())
                && is(filter.application.as_deref(), slot.app.name.as_str())
                && filter.uid.is_none_or(|uid| uid == slot.app_uid)
                && ids.as_ref().is_none_or(|ids| ids.contains(&slot.id))
                && filter
                    .upstream
                    .is_none_or(|upstream| upstream == slot.upstream.is_some())
        };
        let found = self.slots.values().filter(matches);
        let mut found: Vec<(SlotPlace, &Slot)> = found
            .map(|slot| (SlotPlace::from(slot), slot))
            .filter(|(place, _)| filter.after.as_ref().is_none_or(|after| place > after))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let page = found.into_iter().take(count(filter.limit));
        page.map(|(_, slot)| slot.clone()).collect()
    }

    pub(super) fn assignments(&self, filter: &AssignmentFilter) -> Vec<Assignment> {
        let ids: Option<BTreeSet<_>> = filter.ids.as_ref().map(|ids| ids.iter().collect());
        let slots: Option<BTreeSet<_>> = filter.slots.as_ref().map(|ids| ids.iter().collect());
        let matches = |assignment: &&Assignment| {
            filter.child.is_none_or(|child| child == assignment.child)
                && filter.uid.is_none_or(|uid| uid == assignment.app_uid)
                && slots
                    .as_ref()
                    .is_none_or(|slots| slots.contains(&assignment.slot))
                && ids.as_ref().is_none_or(|ids| ids.contains(&assignment.id))
                && filter
                    .ordered_after
                    .is_none_or(|revision| assignment.order_revision > revision)
        };
        self.assignments.values().filter(matches).cloned().collect()
    }

    pub(super) fn tombstones(&self, ids: &[Uuid]) -> Vec<Uuid> {
        let asked: BTreeSet<&Uuid> = ids.iter().collect();
        let known = asked
            .into_iter()
            .filter(|id| self.tombstones.contains_key(id));
        known.copied().collect()
    }

    pub(super) fn changes(&self, since: Revision, limit: u64) -> Result<Vec<Change>, StoreError> {
        if since < self.compacted {
            return Err(StoreError::Compacted {
                since,
                oldest: self.compacted,
            });
        }
        let commits = self.changes.range(since.saturating_add(1)..);
        Ok(commits
            .take(count(Some(limit)))
            .flat_map(|(_, (_, changes))| changes.iter().cloned())
            .collect())
    }

    pub(super) fn events(&self, limit: u64) -> Vec<Event> {
        let newest_first = self.events.iter().rev();
        newest_first.take(count(Some(limit))).cloned().collect()
    }
}

fn is(wanted: Option<&str>, value: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == value)
}

fn among(wanted: Option<&[String]>, value: &str) -> bool {
    wanted.is_none_or(|wanted| wanted.iter().any(|one| one == value))
}

fn place(key: &AppKey) -> (&str, &str, Owner) {
    (key.namespace.as_str(), key.name.as_str(), key.owner)
}

fn count(limit: Option<u64>) -> usize {
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}
