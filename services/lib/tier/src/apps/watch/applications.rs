//! The watch of applications and instances.
//!
//! An application is sent when it or its status changed, an instance when its slot, its assignment or the reachability
//! of its child did.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use async_trait::async_trait;
use edgeio_domain::{
    ids::{AppUid, ChildId, SlotId},
    records::{AppKey, Application, Slot},
    violation::Violations,
};
use edgeio_proto::api::v1::{self, watch_response::Change as Item};
use edgeio_server::auth::Principal;
use edgeio_store::{
    ApplicationFilter, AssignmentFilter, Change, ChangeKind, ReadTx, SlotFilter, StoreError,
};
use futures::{Stream, StreamExt as _};
use prost::Message;

use super::{Subject, open};
use crate::apps::{
    AppError, Apps, Scope,
    access::{self, Seen},
    find,
    show::{BySlot, Picture, Specs},
};

/// A checked Watch.
#[derive(Clone, Debug)]
pub struct Watch {
    seen: Seen,
    application: Option<String>,
    token: String,
}

impl Watch {
    /// Checks a request.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse(who: &Principal, request: &v1::WatchRequest) -> Result<Self, AppError> {
        let mut faults = Violations::default();
        let namespace = find::optional("namespace", &request.namespace, &mut faults);
        let application = find::optional("application", &request.application, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        Ok(Self {
            seen: access::listed(who, namespace.as_ref())?,
            application: application.map(|name| name.to_string()),
            token: request.token.clone(),
        })
    }

    fn covers(&self, namespace: &str, application: &str) -> bool {
        let wanted = self.application.as_deref();
        self.seen.covers(namespace) && wanted.is_none_or(|wanted| wanted == application)
    }

    fn applications(&self) -> ApplicationFilter {
        ApplicationFilter {
            within: self.seen.filter(),
            name: self.application.clone(),
            ..ApplicationFilter::default()
        }
    }

    fn slots(&self) -> SlotFilter {
        SlotFilter {
            within: self.seen.filter(),
            application: self.application.clone(),
            ..SlotFilter::default()
        }
    }
}

impl Apps {
    /// Streams applications and instances. It ends with an error when its place is lost or the store fails.
    ///
    /// # Errors
    /// The token is none, or its place is no longer kept.
    pub async fn watch(
        &self,
        watch: Watch,
    ) -> Result<
        impl Stream<Item = Result<v1::WatchResponse, AppError>> + Send + 'static + use<>,
        AppError,
    > {
        let token = watch.token.clone();
        let subject = Applications {
            scope: self.scope.clone(),
            watch,
            sent: HashMap::new(),
            heard: HashMap::new(),
        };
        let feed = open(self.store.clone(), subject, &token).await?;
        Ok(feed.map(|next| {
            next.map(|(token, change)| v1::WatchResponse {
                token,
                change: Some(change),
            })
        }))
    }
}

struct Applications {
    scope: Scope,
    watch: Watch,
    /// What was sent last of each application, as a hash: a status is sent when it changed, not with each instance.
    sent: HashMap<AppUid, u64>,
    /// Whether each child was heard when that was told last.
    heard: HashMap<ChildId, bool>,
}

/// What some changes are about.
#[derive(Default)]
struct Touched<'a> {
    applications: BTreeMap<AppUid, (&'a str, &'a str)>,
    slots: BTreeMap<SlotId, (&'a str, &'a str)>,
    children: BTreeSet<ChildId>,
}

impl<'a> Touched<'a> {
    fn by(changes: &'a [Change], watch: &Watch) -> Self {
        let mut touched = Self::default();
        for change in changes {
            let key = (change.namespace.as_str(), change.name.as_str());
            match change.kind {
                ChangeKind::Child => {
                    touched.children.insert(ChildId(change.id));
                }
                ChangeKind::Application if watch.covers(key.0, key.1) => {
                    touched.applications.insert(AppUid(change.id), key);
                }
                ChangeKind::Slot if watch.covers(key.0, key.1) => {
                    touched.slots.insert(SlotId(change.id), key);
                }
                ChangeKind::Application | ChangeKind::Slot => {}
            }
        }
        touched
    }

    /// Names of the applications whose status may differ.
    fn names(&self) -> BTreeSet<(&'a str, &'a str)> {
        let of_slots = self.slots.values();
        self.applications
            .values()
            .chain(of_slots)
            .copied()
            .collect()
    }
}

impl Applications {
    /// Adds those applications that differ from what was sent of them.
    async fn applications(
        &mut self,
        tx: &dyn ReadTx,
        picture: &Picture<'_>,
        applications: &[Application],
        items: &mut Vec<Item>,
    ) -> Result<(), StoreError> {
        let specs = Specs::load(tx, applications).await?;
        for application in applications {
            let shown = picture.fill(tx, application, &specs).await?;
            let mut hash = DefaultHasher::new();
            shown.encode_to_vec().hash(&mut hash);
            if self.sent.insert(application.uid, hash.finish()) != Some(hash.finish()) {
                items.push(Item::Application(shown));
            }
        }
        Ok(())
    }

    /// The slots whose instances look different since a child fell silent or came back, and their applications.
    async fn affected(
        &mut self,
        tx: &dyn ReadTx,
        picture: &Picture<'_>,
        child: ChildId,
    ) -> Result<Vec<(SlotId, AppKey)>, StoreError> {
        let hears = picture.hears(child);
        if self.heard.insert(child, hears) == Some(hears) {
            return Ok(Vec::new());
        }
        let filter = AssignmentFilter {
            child: Some(child),
            ..AssignmentFilter::default()
        };
        let of_child = tx.assignments(&filter).await?;
        let covered = |app: &AppKey| self.watch.covers(app.namespace.as_str(), app.name.as_str());
        let covered = of_child.into_iter().filter(|placed| covered(&placed.app));
        Ok(covered.map(|placed| (placed.slot, placed.app)).collect())
    }
}

#[async_trait]
impl Subject for Applications {
    type Item = Item;

    async fn snapshot(&mut self, tx: &dyn ReadTx) -> Result<Vec<Item>, StoreError> {
        let scope = self.scope.clone();
        let picture = Picture::load(&scope, tx).await?;
        self.heard = picture.heard();
        // Whatever was sent before, a snapshot is whole.
        self.sent.clear();
        let mut items = Vec::new();
        let applications = tx.applications(&self.watch.applications()).await?;
        self.applications(tx, &picture, &applications, &mut items)
            .await?;
        let slots = tx.slots(&self.watch.slots()).await?;
        let assignments = tx.assignments(&AssignmentFilter::default()).await?;
        let by_slot = BySlot::new(&assignments);
        let known: BTreeSet<SlotId> = slots.iter().map(|slot| slot.id).collect();
        for slot in &slots {
            let shown = picture.of_slot(slot, by_slot.of(slot.id));
            items.push(Item::Instance(shown));
        }
        for slot in by_slot.slots().filter(|slot| !known.contains(slot)) {
            // A slot that another filter keeps out is not loose.
            let shown = picture.without_slot(by_slot.of(slot));
            let shown =
                shown.filter(|shown| self.watch.covers(&shown.namespace, &shown.application));
            items.extend(shown.map(Item::Instance));
        }
        Ok(items)
    }

    async fn changed(
        &mut self,
        tx: &dyn ReadTx,
        changes: &[Change],
    ) -> Result<Vec<Item>, StoreError> {
        let touched = Touched::by(changes, &self.watch);
        let names = touched.names();
        if names.is_empty() && touched.children.is_empty() {
            return Ok(Vec::new());
        }
        let scope = self.scope.clone();
        let picture = Picture::load(&scope, tx).await?;
        let mut items = Vec::new();
        let mut ids: BTreeSet<SlotId> = touched.slots.keys().copied().collect();
        let mut silent = Vec::new();
        for child in &touched.children {
            silent.extend(self.affected(tx, &picture, *child).await?);
        }
        let mut names = names;
        for (slot, app) in &silent {
            ids.insert(*slot);
            // Its status counts what cannot be heard.
            names.insert((app.namespace.as_str(), app.name.as_str()));
        }
        let mut found: Vec<Application> = Vec::new();
        for (namespace, name) in names {
            let filter = ApplicationFilter {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                ..ApplicationFilter::default()
            };
            found.extend(tx.applications(&filter).await?);
        }
        self.applications(tx, &picture, &found, &mut items).await?;

        let ids: Vec<SlotId> = ids.into_iter().collect();
        let filter = SlotFilter {
            ids: Some(ids.clone()),
            ..SlotFilter::default()
        };
        let slots = tx.slots(&filter).await?;
        let slots: BTreeMap<SlotId, &Slot> = slots.iter().map(|slot| (slot.id, slot)).collect();
        let filter = AssignmentFilter {
            slots: Some(ids.clone()),
            ..AssignmentFilter::default()
        };
        let assignments = tx.assignments(&filter).await?;
        let by_slot = BySlot::new(&assignments);
        for id in ids {
            let placed = by_slot.of(id);
            let shown = match slots.get(&id) {
                Some(slot) => Some(picture.of_slot(slot, placed)),
                None => picture.without_slot(placed),
            };
            match (shown, touched.slots.get(&id)) {
                (Some(shown), _) => items.push(Item::Instance(shown)),
                (None, Some((namespace, application))) => {
                    items.push(Item::InstanceGone(v1::InstanceGone {
                        slot_id: id.to_string(),
                        namespace: (*namespace).to_owned(),
                        application: (*application).to_owned(),
                    }));
                }
                (None, None) => {}
            }
        }
        for (uid, (namespace, name)) in touched.applications {
            if found.iter().any(|application| application.uid == uid) {
                continue;
            }
            self.sent.remove(&uid);
            items.push(Item::ApplicationGone(v1::ApplicationGone {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: uid.to_string(),
            }));
        }
        Ok(items)
    }

    fn bookmark() -> Item {
        Item::Bookmark(v1::Bookmark {})
    }
}
