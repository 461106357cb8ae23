//! Get and the lists.

use std::collections::BTreeSet;

use edgeio_domain::{
    ids::SlotId,
    name::Name,
    records::{AppKey, Application, Owner},
    violation::Violations,
};
use edgeio_proto::api::v1;
use edgeio_server::auth::{Principal, Role};
use edgeio_store::{ApplicationFilter, AssignmentFilter, ReadTx, SlotFilter, SlotPlace};

use super::{
    AppError, Apps, Named,
    access::{self, Seen},
    find::{self, Found},
    page::{self, Page},
    show::{BySlot, Picture, Specs},
};

/// A checked List.
#[derive(Clone, Debug)]
pub struct List {
    seen: Seen,
    size: usize,
    after: Option<AppKey>,
}

impl List {
    /// Checks a request.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse(who: &Principal, request: &v1::ListRequest) -> Result<Self, AppError> {
        let mut faults = Violations::default();
        let namespace = find::optional("namespace", &request.namespace, &mut faults);
        let size = page::size(request.page_size, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let after = (!request.page_token.is_empty())
            .then(|| key_of(&request.page_token))
            .transpose()?;
        Ok(Self {
            seen: access::listed(who, namespace.as_ref())?,
            size,
            after,
        })
    }
}

/// A checked ListInstances.
#[derive(Clone, Debug)]
pub struct ListInstances {
    seen: Seen,
    application: Option<String>,
    size: usize,
    after: Option<Cursor>,
}

/// Where a page of instances ended.
#[derive(Clone, Debug)]
enum Cursor {
    /// At a slot.
    Slot(SlotPlace),
    /// At what is held without a slot, which comes after the slots.
    Held(SlotPlace),
}

impl ListInstances {
    /// Checks a request.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse(who: &Principal, request: &v1::ListInstancesRequest) -> Result<Self, AppError> {
        let mut faults = Violations::default();
        let namespace = find::optional("namespace", &request.namespace, &mut faults);
        let application = find::optional("application", &request.application, &mut faults);
        let size = page::size(request.page_size, &mut faults);
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let after = (!request.page_token.is_empty())
            .then(|| cursor_of(&request.page_token))
            .transpose()?;
        Ok(Self {
            seen: access::listed(who, namespace.as_ref())?,
            application: application.map(|name| name.to_string()),
            size,
            after,
        })
    }
}

impl Apps {
    /// One application; this tier's own where another one has the name too.
    ///
    /// # Errors
    /// There is none, several clusters have one and the root none, or it is not the caller's to see.
    pub async fn get(&self, who: &Principal, named: Named) -> Result<v1::GetResponse, AppError> {
        access::within(who, Role::Viewer, &named.namespace)?;
        let tx = self.store.read().await?;
        let absent = || AppError::not_found("application", named.name.as_str());
        let application = match self.find(&*tx, &named).await? {
            Found::Own(application) => application,
            Found::Foreign(owners) => {
                let [owner] = owners[..] else {
                    let picture = Picture::load(&self.scope, &*tx).await?;
                    return Err(AppError::Ambiguous {
                        name: named.name.to_string(),
                        owner: picture.owners(&owners),
                        remedy: picture.remedy(&owners),
                    });
                };
                let filter = ApplicationFilter {
                    namespace: Some(named.namespace.to_string()),
                    name: Some(named.name.to_string()),
                    owner: Some(owner),
                    ..ApplicationFilter::default()
                };
                let known = tx.applications(&filter).await?.into_iter().next();
                known.ok_or_else(absent)?
            }
            Found::Nothing => return Err(absent()),
        };
        let application = self.describe(&*tx, &application, &Specs::default()).await?;
        Ok(v1::GetResponse {
            application: Some(application),
        })
    }

    /// A page of applications, by namespace and name.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self, command: List) -> Result<v1::ListResponse, AppError> {
        let tx = self.store.read().await?;
        let filter = ApplicationFilter {
            within: command.seen.filter(),
            after: command.after,
            limit: Some(command.size as u64 + 1),
            ..ApplicationFilter::default()
        };
        let applications = tx.applications(&filter).await?;
        let picture = Picture::load(&self.scope, &*tx).await?;
        let specs = Specs::load(&*tx, &applications).await?;
        let mut page = Page::new(command.size);
        for application in &applications {
            let shown = picture.fill(&*tx, application, &specs).await?;
            if !page.push(shown, || key_token(&application.key)) {
                let (applications, next_page_token) = page.more();
                return Ok(v1::ListResponse {
                    applications,
                    next_page_token,
                });
            }
        }
        let (applications, next_page_token) = page.end();
        Ok(v1::ListResponse {
            applications,
            next_page_token,
        })
    }

    /// A page of instances: one for each slot, in the order of namespace, application, service and ordinal; then those
    /// that are held without a slot.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list_instances(
        &self,
        command: ListInstances,
    ) -> Result<v1::ListInstancesResponse, AppError> {
        let tx = self.store.read().await?;
        let picture = Picture::load(&self.scope, &*tx).await?;
        let mut page = Page::new(command.size);
        let mut more = false;
        let held_after = match &command.after {
            Some(Cursor::Held(place)) => Some(place.clone()),
            Some(Cursor::Slot(_)) | None => None,
        };
        if held_after.is_none() {
            let filter = SlotFilter {
                within: command.seen.filter(),
                application: command.application.clone(),
                after: match &command.after {
                    Some(Cursor::Slot(place)) => Some(place.clone()),
                    Some(Cursor::Held(_)) | None => None,
                },
                limit: Some(command.size as u64 + 1),
                ..SlotFilter::default()
            };
            let slots = tx.slots(&filter).await?;
            let filter = AssignmentFilter {
                slots: Some(slots.iter().map(|slot| slot.id).collect()),
                ..AssignmentFilter::default()
            };
            let assignments = tx.assignments(&filter).await?;
            let by_slot = BySlot::new(&assignments);
            for slot in &slots {
                let shown = picture.of_slot(slot, by_slot.of(slot.id));
                let token = || place_token("s", &SlotPlace::from(slot));
                if !page.push(shown, token) {
                    more = true;
                    break;
                }
            }
        }
        if !more {
            more = self
                .held(&*tx, &picture, &command, held_after, &mut page)
                .await?;
        }
        let (instances, next_page_token) = if more { page.more() } else { page.end() };
        Ok(v1::ListInstancesResponse {
            instances,
            next_page_token,
        })
    }

    /// Fills a page with what is held without a slot; whether more follows.
    async fn held(
        &self,
        tx: &dyn ReadTx,
        picture: &Picture<'_>,
        command: &ListInstances,
        after: Option<SlotPlace>,
        page: &mut Page<v1::Instance>,
    ) -> Result<bool, AppError> {
        let assignments = tx.assignments(&AssignmentFilter::default()).await?;
        let by_slot = BySlot::new(&assignments);
        let ids: BTreeSet<SlotId> = by_slot.slots().collect();
        let filter = SlotFilter {
            ids: Some(ids.into_iter().collect()),
            ..SlotFilter::default()
        };
        let known: BTreeSet<SlotId> = tx.slots(&filter).await?.iter().map(|s| s.id).collect();
        let mut places: Vec<SlotPlace> = by_slot
            .slots()
            .filter(|id| !known.contains(id))
            .filter_map(|id| by_slot.place(id))
            .filter(|place| {
                let wanted = command.application.as_deref();
                command.seen.covers(&place.namespace)
                    && wanted.is_none_or(|wanted| wanted == place.application)
                    && after.as_ref().is_none_or(|after| place > after)
            })
            .collect();
        places.sort();
        for place in places {
            let Some(shown) = picture.without_slot(by_slot.of(place.id)) else {
                continue;
            };
            if !page.push(shown, || place_token("h", &place)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// An application as it is shown. `fresh` are specs that the store does not have yet.
    pub(crate) async fn describe(
        &self,
        tx: &dyn ReadTx,
        application: &Application,
        fresh: &Specs,
    ) -> Result<v1::Application, AppError> {
        let picture = Picture::load(&self.scope, tx).await?;
        let specs = Specs::load(tx, [application]).await?.with(fresh);
        Ok(picture.fill(tx, application, &specs).await?)
    }
}

fn key_token(key: &AppKey) -> String {
    let owner = match key.owner {
        Owner::Root => "root".to_owned(),
        Owner::Cluster(id) => id.to_string(),
    };
    page::seal(&["a", key.namespace.as_str(), key.name.as_str(), &owner])
}

fn key_of(token: &str) -> Result<AppKey, AppError> {
    let [_, namespace, name, owner] = page::unseal::<4>("page_token", "a", token)?;
    let owner = match owner.as_str() {
        "root" => Some(Owner::Root),
        id => id.parse().ok().map(Owner::Cluster),
    };
    match (Name::new(&namespace), Name::new(&name), owner) {
        (Ok(namespace), Ok(name), Some(owner)) => Ok(AppKey {
            owner,
            namespace,
            name,
        }),
        _ => Err(broken_token()),
    }
}

fn place_token(tag: &str, place: &SlotPlace) -> String {
    page::seal(&[
        "i",
        tag,
        &place.namespace,
        &place.application,
        &place.service,
        &place.ordinal.to_string(),
        &place.id.to_string(),
    ])
}

fn cursor_of(token: &str) -> Result<Cursor, AppError> {
    let [_, tag, namespace, application, service, ordinal, id] =
        page::unseal::<7>("page_token", "i", token)?;
    let (Ok(ordinal), Ok(id)) = (ordinal.parse(), id.parse()) else {
        return Err(broken_token());
    };
    let place = SlotPlace {
        namespace,
        application,
        service,
        ordinal,
        id,
    };
    match tag.as_str() {
        "s" => Ok(Cursor::Slot(place)),
        "h" => Ok(Cursor::Held(place)),
        _ => Err(broken_token()),
    }
}

fn broken_token() -> AppError {
    AppError::field("page_token", "is damaged: leave it out to begin again")
}
