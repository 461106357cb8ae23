//! What is read: filters, orders and pages as SQL.
//!
//! A long list of ids in a filter is asked for in pieces; what such a filter says besides is then judged here, on rows.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    ids::{AppUid, AssignmentId, SlotId, SpecHash},
    records::{Application, Assignment, Event, Service, Slot},
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::{
    entity::{
        application, assignment, change_log, event, lease, meta, service, slot, spec, tombstone,
    },
    error::failed,
    row::{Table, limit, owner_text, pieces},
};
use crate::api::{
    ApplicationFilter, AssignmentFilter, Change, Lease, Revision, SlotFilter, SlotPlace, StoreError,
};

/// The row of facts.
pub(super) async fn meta(db: &impl ConnectionTrait) -> Result<meta::Model, StoreError> {
    let row = meta::Entity::find_by_id(meta::ONLY).one(db).await;
    row.map_err(failed("read facts of the database"))?
        .ok_or_else(|| Table("meta").corrupt("its row is missing".to_owned()))
}

/// A lease. In a write transaction nobody takes it before that ends.
pub(super) async fn lease(
    db: &impl ConnectionTrait,
    name: &str,
) -> Result<Option<Lease>, StoreError> {
    // SQLite has no such lock and needs none: its write transactions exclude each other.
    let row = lease::Entity::find_by_id(name).lock_shared().one(db).await;
    Ok(row.map_err(failed("read a lease"))?.map(Lease::from))
}

pub(super) async fn applications(
    db: &impl ConnectionTrait,
    filter: &ApplicationFilter,
) -> Result<Vec<Application>, StoreError> {
    use application::{Column, Entity};
    let mut query = Entity::find();
    if let Some(namespace) = &filter.namespace {
        query = query.filter(Column::Namespace.eq(namespace));
    }
    if let Some(within) = &filter.within {
        query = query.filter(Column::Namespace.is_in(within));
    }
    if let Some(name) = &filter.name {
        query = query.filter(Column::Name.eq(name));
    }
    if let Some(owner) = filter.owner {
        query = query.filter(Column::Owner.eq(owner_text(owner)));
    }
    if let Some(after) = &filter.after {
        let place = Expr::tuple([
            Expr::col(Column::Namespace),
            Expr::col(Column::Name),
            Expr::col(Column::Owner),
        ]);
        query = query.filter(place.gt(Expr::tuple([
            Expr::val(after.namespace.as_str()),
            Expr::val(after.name.as_str()),
            Expr::val(owner_text(after.owner)),
        ])));
    }
    let query = query
        .order_by_asc(Column::Namespace)
        .order_by_asc(Column::Name)
        .order_by_asc(Column::Owner)
        .limit(filter.limit.map(limit));
    let rows = query.all(db).await.map_err(failed("list applications"))?;
    with_services(db, rows).await
}

pub(super) async fn application(
    db: &impl ConnectionTrait,
    uid: AppUid,
) -> Result<Option<Application>, StoreError> {
    let row = application::Entity::find_by_id(uid.0).one(db).await;
    let row = row.map_err(failed("read an application"))?;
    let mut found = with_services(db, row.into_iter().collect()).await?;
    Ok(found.pop())
}

async fn with_services(
    db: &impl ConnectionTrait,
    rows: Vec<application::Model>,
) -> Result<Vec<Application>, StoreError> {
    use service::{Column, Entity};
    let mut services: BTreeMap<Uuid, Vec<Service>> = BTreeMap::new();
    let uids: Vec<Uuid> = rows.iter().map(|row| row.uid).collect();
    for piece in pieces(&uids) {
        let found = Entity::find()
            .filter(Column::AppUid.is_in(piece.iter().copied()))
            .order_by_asc(Column::AppUid)
            .order_by_asc(Column::Position)
            .all(db)
            .await
            .map_err(failed("list services"))?;
        for row in found {
            services.entry(row.app_uid).or_default().push(row.record()?);
        }
    }
    rows.into_iter()
        .map(|row| {
            let services = services.remove(&row.uid).unwrap_or_default();
            row.record(services)
        })
        .collect()
}

pub(super) async fn specs(
    db: &impl ConnectionTrait,
    hashes: &[SpecHash],
) -> Result<Vec<(SpecHash, Vec<u8>)>, StoreError> {
    use spec::{Column, Entity};
    let asked: BTreeSet<&SpecHash> = hashes.iter().collect();
    let asked: Vec<&SpecHash> = asked.into_iter().collect();
    let mut found = Vec::new();
    for piece in pieces(&asked) {
        let rows = Entity::find()
            .filter(Column::Hash.is_in(piece.iter().map(|hash| hash.0.to_vec())))
            .all(db)
            .await
            .map_err(failed("read specs"))?;
        for row in rows {
            found.push((Table("spec").hash(&row.hash)?, row.body));
        }
    }
    found.sort_unstable();
    Ok(found)
}

pub(super) async fn slots(
    db: &impl ConnectionTrait,
    filter: &SlotFilter,
) -> Result<Vec<Slot>, StoreError> {
    use slot::{Column, Entity};
    let mut query = Entity::find();
    if let Some(namespace) = &filter.namespace {
        query = query.filter(Column::Namespace.eq(namespace));
    }
    if let Some(within) = &filter.within {
        query = query.filter(Column::Namespace.is_in(within));
    }
    if let Some(application) = &filter.application {
        query = query.filter(Column::Application.eq(application));
    }
    if let Some(uid) = filter.uid {
        query = query.filter(Column::AppUid.eq(uid.0));
    }
    match filter.upstream {
        Some(true) => query = query.filter(Column::UpstreamSlot.is_not_null()),
        Some(false) => query = query.filter(Column::UpstreamSlot.is_null()),
        None => {}
    }
    if let Some(after) = &filter.after {
        query = query.filter(slot_place().gt(Expr::tuple([
            Expr::val(after.namespace.as_str()),
            Expr::val(after.application.as_str()),
            Expr::val(after.service.as_str()),
            Expr::val(i64::from(after.ordinal)),
            Expr::val(after.id.0),
        ])));
    }
    let Some(ids) = &filter.ids else {
        let page = query
            .order_by_asc(Column::Namespace)
            .order_by_asc(Column::Application)
            .order_by_asc(Column::Service)
            .order_by_asc(Column::Ordinal)
            .order_by_asc(Column::Id)
            .limit(filter.limit.map(limit));
        let rows = page.all(db).await.map_err(failed("list slots"))?;
        return rows.into_iter().map(Slot::try_from).collect();
    };
    let ids: BTreeSet<SlotId> = ids.iter().copied().collect();
    let ids: Vec<Uuid> = ids.into_iter().map(|id| id.0).collect();
    let rows = in_pieces(db, query, Column::Id, &ids)
        .await
        .map_err(failed("list slots by id"))?;
    let found: Result<Vec<Slot>, StoreError> = rows.into_iter().map(Slot::try_from).collect();
    let mut found = found?;
    found.sort_by_cached_key(|slot| SlotPlace::from(slot));
    if let Some(limit) = filter.limit {
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(found)
}

fn slot_place() -> Expr {
    use slot::Column;
    Expr::tuple([
        Expr::col(Column::Namespace),
        Expr::col(Column::Application),
        Expr::col(Column::Service),
        Expr::col(Column::Ordinal),
        Expr::col(Column::Id),
    ])
}

pub(super) async fn assignments(
    db: &impl ConnectionTrait,
    filter: &AssignmentFilter,
) -> Result<Vec<Assignment>, StoreError> {
    use assignment::{Column, Entity};
    let mut all = Condition::all();
    if let Some(child) = filter.child {
        all = all.add(Column::Child.eq(child.0));
    }
    if let Some(uid) = filter.uid {
        all = all.add(Column::AppUid.eq(uid.0));
    }
    if let Some(revision) = filter.ordered_after {
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        all = all.add(Column::OrderRevision.gt(revision));
    }
    let query = Entity::find().filter(all);
    let slots: Option<BTreeSet<SlotId>> = filter
        .slots
        .as_ref()
        .map(|slots| slots.iter().copied().collect());
    let rows = if let Some(ids) = &filter.ids {
        let ids: BTreeSet<AssignmentId> = ids.iter().copied().collect();
        let ids: Vec<Uuid> = ids.into_iter().map(|id| id.0).collect();
        in_pieces(db, query, Column::Id, &ids).await
    } else if let Some(slots) = &slots {
        let slots: Vec<Uuid> = slots.iter().map(|id| id.0).collect();
        in_pieces(db, query, Column::Slot, &slots).await
    } else {
        query.order_by_asc(Column::Id).all(db).await
    };
    let mut rows = rows.map_err(failed("list assignments"))?;
    rows.sort_by_key(|row| row.id);
    rows.into_iter()
        .filter(|row| {
            let wanted = |slots: &BTreeSet<SlotId>| slots.contains(&SlotId(row.slot));
            slots.as_ref().is_none_or(wanted)
        })
        .map(Assignment::try_from)
        .collect()
}

/// Runs a query once for each piece of a list of ids.
async fn in_pieces<E: EntityTrait>(
    db: &impl ConnectionTrait,
    query: Select<E>,
    column: impl ColumnTrait,
    ids: &[Uuid],
) -> Result<Vec<E::Model>, DbErr> {
    let mut found = Vec::new();
    for piece in pieces(ids) {
        let query = query.clone().filter(column.is_in(piece.iter().copied()));
        found.extend(query.all(db).await?);
    }
    Ok(found)
}

pub(super) async fn tombstones(
    db: &impl ConnectionTrait,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    use tombstone::{Column, Entity};
    let asked: BTreeSet<Uuid> = ids.iter().copied().collect();
    let asked: Vec<Uuid> = asked.into_iter().collect();
    let rows = in_pieces(db, Entity::find(), Column::Id, &asked)
        .await
        .map_err(failed("read tombstones"))?;
    let mut known: Vec<Uuid> = rows.into_iter().map(|row| row.id).collect();
    known.sort_unstable();
    Ok(known)
}

pub(super) async fn changes(
    db: &impl ConnectionTrait,
    since: Revision,
    commits: u64,
) -> Result<Vec<Change>, StoreError> {
    use change_log::{Column, Entity};
    let oldest = meta(db).await?.compacted_revision.cast_unsigned();
    if since < oldest {
        return Err(StoreError::Compacted { since, oldest });
    }
    let since = i64::try_from(since).unwrap_or(i64::MAX);
    let revisions: Vec<i64> = Entity::find()
        .select_only()
        .column(Column::Revision)
        .distinct()
        .filter(Column::Revision.gt(since))
        .order_by_asc(Column::Revision)
        .limit(limit(commits))
        .into_tuple()
        .all(db)
        .await
        .map_err(failed("list changed revisions"))?;
    let Some(last) = revisions.last() else {
        return Ok(Vec::new());
    };
    let rows = Entity::find()
        .filter(Column::Revision.gt(since))
        .filter(Column::Revision.lte(*last))
        .all(db)
        .await
        .map_err(failed("list changes"))?;
    let changes: Result<Vec<Change>, StoreError> = rows.into_iter().map(Change::try_from).collect();
    let mut changes = changes?;
    changes.sort_by_key(|change| (change.revision, change.kind, change.id));
    Ok(changes)
}

pub(super) async fn events(
    db: &impl ConnectionTrait,
    count: u64,
) -> Result<Vec<Event>, StoreError> {
    use event::{Column, Entity};
    let rows = Entity::find()
        .order_by_desc(Column::Revision)
        .order_by_desc(Column::Position)
        .limit(limit(count))
        .all(db)
        .await
        .map_err(failed("list events"))?;
    Ok(rows.into_iter().map(Event::from).collect())
}
