//! What is held: it runs though nobody asks for it, and goes on until a person decides.
//!
//! A hold is an assignment that this tier's database does not ask for; an orphan is a slot that the parent's snapshot does
//! not name. `accept` says that the database is right: it is stopped, by an order of its own. `adopt` says that it is
//! wanted: it gets a slot of its application, and the engine orders it to run under its old id. Deliberately absent: deciding
//! on others of the same name; they stay held.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    ids::{AppUid, SlotId, SpecHash},
    records::{AppKey, Application, Assignment, Desired, Event, Service, Slot},
    resources::Resources,
    time::Time,
    violation::Violations,
};
use edgeio_link::spec;
use edgeio_proto::api::v1;
use edgeio_server::auth::{Principal, Role};
use edgeio_store::{
    ApplicationFilter, AssignmentFilter, ReadTx, SlotFilter, SlotPlace, StoreError, Write, WriteTx,
};

use super::{
    AppError, Apps, RequestKey,
    access::{self, Seen},
    find,
    page::{self, Page},
    show::{Picture, Specs, newest, timestamp},
};
use crate::access::{Target, quota};

/// A checked ListHeld.
#[derive(Clone, Debug)]
pub struct ListHeld {
    seen: Seen,
    application: Option<String>,
    kind: v1::HeldKind,
    size: usize,
    after: Option<SlotPlace>,
}

impl ListHeld {
    /// Checks a request.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse(who: &Principal, request: &v1::ListHeldRequest) -> Result<Self, AppError> {
        let mut faults = Violations::default();
        let namespace = find::optional("namespace", &request.namespace, &mut faults);
        let application = find::optional("application", &request.application, &mut faults);
        let size = page::size(request.page_size, &mut faults);
        let kind = v1::HeldKind::try_from(request.kind);
        if kind.is_err() {
            faults.add("kind", "is not known here");
        }
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let after = (!request.page_token.is_empty())
            .then(|| place_of(&request.page_token))
            .transpose()?;
        Ok(Self {
            seen: access::listed(who, namespace.as_ref())?,
            application: application.map(|name| name.to_string()),
            kind: kind.unwrap_or_default(),
            size,
            after,
        })
    }
}

/// A checked ResolveHeld.
#[derive(Clone, Debug)]
pub struct ResolveHeld {
    key: RequestKey,
    id: SlotId,
    adopt: bool,
    who: Principal,
}

impl ResolveHeld {
    /// Checks a request.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse(who: &Principal, mut request: v1::ResolveHeldRequest) -> Result<Self, AppError> {
        access::role(who, Role::Deployer)?;
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "ResolveHeld", id, &request, &mut faults);
        let id = request.id.parse::<SlotId>();
        if id.is_err() {
            faults.add("id", "is not a UUID: list what is held");
        }
        let adopt = match request.decision() {
            v1::HeldDecision::Accept => Some(false),
            v1::HeldDecision::Adopt => Some(true),
            v1::HeldDecision::Unspecified => None,
        };
        if adopt.is_none() {
            faults.add("decision", "is required: accept or adopt");
        }
        let (Ok(id), Some(adopt), true) = (id, adopt, faults.is_empty()) else {
            return Err(AppError::Invalid(faults.into_vec()));
        };
        Ok(Self {
            key,
            id,
            adopt,
            who: who.clone(),
        })
    }
}

/// One thing that is held.
enum Entry {
    /// An assignment without a slot.
    Hold(Box<Assignment>),
    /// A slot of the parent's, with what fills it.
    Orphan(Box<Slot>, Option<Box<Assignment>>),
}

impl Entry {
    fn kind(&self) -> v1::HeldKind {
        match self {
            Self::Hold(_) => v1::HeldKind::Hold,
            Self::Orphan(..) => v1::HeldKind::Orphan,
        }
    }

    fn app(&self) -> &AppKey {
        match self {
            Self::Hold(assignment) => &assignment.app,
            Self::Orphan(slot, _) => &slot.app,
        }
    }

    fn spec_hash(&self) -> SpecHash {
        match self {
            Self::Hold(assignment) => assignment.spec_hash,
            Self::Orphan(slot, _) => slot.spec_hash,
        }
    }

    /// Where it stands in the list, under the id that names it.
    fn place(&self) -> SlotPlace {
        match self {
            Self::Hold(assignment) => SlotPlace {
                namespace: assignment.app.namespace.to_string(),
                application: assignment.app.name.to_string(),
                service: assignment.service.to_string(),
                ordinal: assignment.ordinal,
                id: SlotId(assignment.id.0),
            },
            Self::Orphan(slot, _) => SlotPlace::from(&**slot),
        }
    }

    fn show(&self, picture: &Picture<'_>, known: &BTreeSet<SpecHash>) -> v1::Held {
        let (instance, why, since) = match self {
            Self::Hold(assignment) => (
                picture.of_assignment(None, assignment),
                "it was found running and this tier's database does not ask for it",
                Some(timestamp(assignment.created_at)),
            ),
            Self::Orphan(slot, assignment) => {
                let placed: Vec<&Assignment> = assignment.iter().map(AsRef::as_ref).collect();
                let why = "the root does not name it any more";
                (picture.of_slot(slot, &placed), why, None)
            }
        };
        v1::Held {
            id: self.place().id.to_string(),
            kind: self.kind().into(),
            namespace: instance.namespace,
            application: instance.application,
            service: instance.service,
            ordinal: instance.ordinal,
            cluster: instance.cluster,
            worker: instance.worker,
            phase: instance.phase,
            reachability: instance.reachability,
            owner: picture.owner(self.app().owner),
            why: why.to_owned(),
            since,
            spec_known: known.contains(&self.spec_hash()),
        }
    }
}

impl Apps {
    /// A page of what is held, in the order of namespace, application, service and replica.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list_held(&self, command: ListHeld) -> Result<v1::ListHeldResponse, AppError> {
        let tx = self.store.read().await?;
        let picture = Picture::load(&self.scope, &*tx).await?;
        let mut entries: Vec<(SlotPlace, Entry)> = all(&*tx)
            .await?
            .into_iter()
            .map(|entry| (entry.place(), entry))
            .filter(|(place, entry)| {
                let wanted = command.application.as_deref();
                command.seen.covers(&place.namespace)
                    && wanted.is_none_or(|wanted| wanted == place.application)
                    && [v1::HeldKind::Unspecified, entry.kind()].contains(&command.kind)
                    && command.after.as_ref().is_none_or(|after| place > after)
            })
            .collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.truncate(command.size + 1);
        let known = known_specs(&*tx, entries.iter().map(|(_, entry)| entry)).await?;
        let mut page = Page::new(command.size);
        for (place, entry) in &entries {
            if !page.push(entry.show(&picture, &known), || token(place)) {
                let (held, next_page_token) = page.more();
                return Ok(v1::ListHeldResponse {
                    held,
                    next_page_token,
                });
            }
        }
        let (held, next_page_token) = page.end();
        Ok(v1::ListHeldResponse {
            held,
            next_page_token,
        })
    }

    /// Carries a decision out as far as the database goes. Durable when it answers.
    ///
    /// # Errors
    /// Says why it cannot; nothing was stored then.
    pub async fn resolve_held(
        &self,
        command: ResolveHeld,
    ) -> Result<v1::ResolveHeldResponse, AppError> {
        let mut tx = self.store.write().await?;
        if let Some(answer) = command.key.replay(&*tx).await? {
            return Ok(answer);
        }
        let now = self.clock.wall();
        let entries = all(&*tx).await?;
        let entry = entries
            .into_iter()
            .find(|entry| entry.place().id == command.id)
            // What the caller may not see is not there.
            .filter(|entry| {
                let namespace = &entry.app().namespace;
                command.who.role_in(namespace.as_str()).is_some()
            })
            .ok_or_else(|| AppError::not_found("held instance", &command.id.to_string()))?;
        access::within(&command.who, Role::Deployer, &entry.app().namespace)?;
        let picture = Picture::load(&self.scope, &*tx).await?;
        let known = known_specs(&*tx, [&entry]).await?;
        let shown = entry.show(&picture, &known);
        let (app, name) = (entry.app().clone(), entry.app().name.clone());
        let word = if command.adopt { "Adopted" } else { "Accepted" };
        match entry {
            Entry::Hold(held) if command.adopt && app.owner == self.scope.own => {
                self.adopt(&mut *tx, *held, now).await?;
            }
            _ if command.adopt => {
                return Err(AppError::OwnedElsewhere {
                    name: name.to_string(),
                    owner: picture.owner(app.owner),
                    remedy: picture.remedy(&[app.owner]),
                });
            }
            Entry::Hold(held) => tx.stage(Write::PutAssignment {
                assignment: Assignment {
                    desired: Desired::Stop,
                    generation: held.generation + 1,
                    ..*held
                },
                ordered: true,
            }),
            Entry::Orphan(slot, _) => tx.stage(Write::PutSlot(Slot {
                desired: Desired::Stop,
                ..*slot
            })),
        }
        let sentence = if command.adopt {
            "was adopted"
        } else {
            "is not wanted and is stopped: the database was accepted as right"
        };
        tx.stage(Write::PutEvent(Event {
            at: now,
            namespace: app.namespace.to_string(),
            subject: format!("application/{name}"),
            reason: word.to_owned(),
            message: format!(
                "{}/{}, which was held, {sentence} (by {})",
                shown.service, shown.ordinal, command.who.name
            ),
        }));
        tracing::info!(application = %name, service = shown.service, ordinal = shown.ordinal, id = %command.id, decision = word, "held instance decided on");
        let answer = v1::ResolveHeldResponse { held: Some(shown) };
        let target = Target::new("application", &name, app.namespace.as_str())
            .with(format!("{word} {}", command.id));
        let kept = command.key.commit(&*self.store, tx, target, &answer, now);
        kept.await?;
        Ok(answer)
    }

    /// Gives what is held a slot of its application, which grows by one or is made if need be.
    async fn adopt(
        &self,
        tx: &mut dyn WriteTx,
        mut held: Assignment,
        now: Time,
    ) -> Result<(), AppError> {
        let filter = ApplicationFilter {
            namespace: Some(held.app.namespace.to_string()),
            name: Some(held.app.name.to_string()),
            owner: Some(held.app.owner),
            ..ApplicationFilter::default()
        };
        let before = tx.applications(&filter).await?.into_iter().next();
        self.may_change(tx, before.as_ref(), 0).await?;
        let mut after = before.clone().unwrap_or_else(|| Application {
            key: held.app.clone(),
            uid: AppUid(self.ids.next()),
            version: 0,
            services: Vec::new(),
            deleted_at: None,
            created_at: now,
            revision: 0,
        });
        let of_app = SlotFilter {
            uid: Some(after.uid),
            ..SlotFilter::default()
        };
        let slots = tx.slots(&of_app).await?;
        let assignments = tx.assignments(&AssignmentFilter::default()).await?;
        let live: BTreeMap<u32, &Slot> = slots
            .iter()
            .filter(|slot| slot.service == held.service && slot.desired != Desired::Stop)
            .map(|slot| (slot.ordinal, slot))
            .collect();
        let filled = |slot: &Slot| assignments.iter().any(|a| a.slot == slot.id);
        let same = live.get(&held.ordinal).filter(|slot| !filled(slot));
        if let Some(slot) = same {
            held.slot = slot.id;
        } else {
            if live.contains_key(&held.ordinal) {
                let free = (0..u32::MAX).find(|ordinal| !live.contains_key(ordinal));
                held.ordinal = free.unwrap_or(u32::MAX);
            }
            let wanted = u32::try_from(live.len() + 1).unwrap_or(u32::MAX);
            let body = tx
                .specs(&[held.spec_hash])
                .await?
                .pop()
                .map(|(_, body)| body);
            let decoded = body.and_then(|body| spec::decode(&body).ok());
            match after.services.iter_mut().find(|s| s.name == held.service) {
                Some(service) => service.replicas = service.replicas.max(wanted),
                None if decoded.is_none() => {
                    return Err(AppError::SpecUnknown {
                        name: held.app.name.to_string(),
                        service: held.service.to_string(),
                    });
                }
                None => after.services.push(Service {
                    name: held.service.clone(),
                    replicas: 1,
                    spec_hash: held.spec_hash,
                }),
            }
            let demand = decoded.map_or_else(Resources::default, |spec| spec.resources);
            tx.stage(Write::PutSlot(slot_of(&held, after.uid, demand, now)));
        }
        if before.as_ref() != Some(&after) {
            let namespace = tx.namespace(after.key.namespace.as_str()).await?;
            let quota = namespace.map(|one| one.quota).unwrap_or_default();
            let specs = Specs::default();
            quota::check(tx, &quota, before.as_ref(), &after, &specs).await?;
            after.version += 1;
            tx.stage(Write::PutApplication(after.clone()));
        }
        // Others of the name stay held: they are as new as this change of the application, so it is no decision on them.
        let others = assignments.into_iter().filter(|other| {
            other.desired == Desired::Hold && other.app == held.app && other.id != held.id
        });
        for assignment in others {
            tx.stage(Write::PutAssignment {
                assignment,
                ordered: false,
            });
        }
        held.app_uid = after.uid;
        tx.stage(Write::PutAssignment {
            assignment: held,
            ordered: false,
        });
        Ok(())
    }
}

fn slot_of(held: &Assignment, uid: AppUid, demand: Resources, now: Time) -> Slot {
    Slot {
        id: held.slot,
        app: held.app.clone(),
        app_uid: uid,
        service: held.service.clone(),
        ordinal: held.ordinal,
        desired: Desired::Run,
        restart_count: held.restart_count,
        spec_hash: held.spec_hash,
        demand,
        upstream: None,
        refusals: Vec::new(),
        pending: Vec::new(),
        created_at: now,
        revision: 0,
    }
}

/// Everything that is held. An assignment whose slot is known is the engine's to adopt.
async fn all(tx: &dyn ReadTx) -> Result<Vec<Entry>, StoreError> {
    let assignments = tx.assignments(&AssignmentFilter::default()).await?;
    let held = assignments
        .iter()
        .filter(|a| a.desired == Desired::Hold && !a.is_mirror());
    let held: Vec<&Assignment> = held.collect();
    let filter = SlotFilter {
        ids: Some(held.iter().map(|a| a.slot).collect()),
        ..SlotFilter::default()
    };
    let known: BTreeSet<SlotId> = tx.slots(&filter).await?.iter().map(|s| s.id).collect();
    let mut entries: Vec<Entry> = held
        .into_iter()
        .filter(|a| !known.contains(&a.slot))
        .map(|a| Entry::Hold(Box::new(a.clone())))
        .collect();
    let filter = SlotFilter {
        upstream: Some(true),
        ..SlotFilter::default()
    };
    for slot in tx.slots(&filter).await? {
        let orphan = slot.upstream.as_ref().is_some_and(|up| up.orphan);
        if orphan && slot.desired != Desired::Stop {
            let placed: Vec<&Assignment> =
                assignments.iter().filter(|a| a.slot == slot.id).collect();
            let placed = newest(&placed).map(|a| Box::new(a.clone()));
            entries.push(Entry::Orphan(Box::new(slot), placed));
        }
    }
    Ok(entries)
}

async fn known_specs<'a>(
    tx: &dyn ReadTx,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<BTreeSet<SpecHash>, StoreError> {
    let hashes: BTreeSet<SpecHash> = entries.into_iter().map(Entry::spec_hash).collect();
    let hashes: Vec<SpecHash> = hashes.into_iter().collect();
    let found = tx.specs(&hashes).await?;
    Ok(found.into_iter().map(|(hash, _)| hash).collect())
}

fn token(place: &SlotPlace) -> String {
    page::seal(&[
        "d",
        &place.namespace,
        &place.application,
        &place.service,
        &place.ordinal.to_string(),
        &place.id.to_string(),
    ])
}

fn place_of(token: &str) -> Result<SlotPlace, AppError> {
    let [_, namespace, application, service, ordinal, id] =
        page::unseal::<6>("page_token", "d", token)?;
    match (ordinal.parse(), id.parse()) {
        (Ok(ordinal), Ok(id)) => Ok(SlotPlace {
            namespace,
            application,
            service,
            ordinal,
            id,
        }),
        _ => Err(AppError::field(
            "page_token",
            "is damaged: leave it out to begin again",
        )),
    }
}
