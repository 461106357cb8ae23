//! Writes a batch: a few statements of many rows for each table, the counter of revisions last.

use edgeio_domain::{
    child::ChildState,
    ids::{AppUid, ChildId, SlotId},
    records::AppKey,
    time::Time,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, IdenStatic,
    IntoActiveModel, Iterable, ModelTrait, PrimaryKeyToColumn, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, ExprTrait, OnConflict, Query},
};
use uuid::Uuid;

use super::{
    access,
    entity::{
        application, assignment, change_log, child, event, lease, meta, request, service, slot,
        spec, tombstone,
    },
    error::failed,
    joins, read,
    row::{Table, pieces},
    word::Word,
};
use crate::{
    api::{Revision, StoreError},
    batch::{Batch, Gone, Order},
};

/// Writes the batch and answers the revision that it has once the transaction is committed.
pub(super) async fn apply(
    db: &impl ConnectionTrait,
    mut batch: Batch,
    at: Time,
) -> Result<Revision, StoreError> {
    check_fence(db, &batch).await?;
    put_leases(db, &batch).await?;
    joins::put(db, &batch).await?;
    access::put(db, &mut batch).await?;
    let facts = read::meta(db).await?;
    if !batch.counts() {
        return Ok(facts.revision.cast_unsigned());
    }
    let moving = check_names(db, &batch).await?;
    let revision = facts.revision.cast_unsigned() + 1;
    batch.stamp(revision);
    let gone = gone(db, &batch).await?;
    let changes = batch.changes(revision, &gone);
    remove(db, &batch, moving).await?;
    put(db, &mut batch, revision).await?;

    let mut compacted = facts.compacted_revision.cast_unsigned();
    if let Some(before) = batch.compact {
        let newest = compact(db, before)
            .await
            .map_err(failed("remove what is old"))?;
        compacted = newest.unwrap_or(compacted);
    }
    let changes = changes.into_iter();
    let changes = changes
        .map(|change| change_log::Model::new(change, at))
        .collect();
    insert(db, changes, None)
        .await
        .map_err(failed("write the log of changes"))?;

    let facts = batch.facts(facts.record(), revision);
    let row = meta::Model::new(&facts, compacted).into_active_model();
    let counted = row.reset_all().update(db).await;
    counted.map_err(failed("count the revision"))?;
    Ok(revision)
}

async fn check_fence(db: &impl ConnectionTrait, batch: &Batch) -> Result<(), StoreError> {
    let recorded = match &batch.fence {
        Some(fence) => read::lease(db, &fence.name).await?,
        None => None,
    };
    batch.check_fence(recorded.as_ref())
}

async fn put_leases(db: &impl ConnectionTrait, batch: &Batch) -> Result<(), StoreError> {
    for (name, end) in &batch.leases {
        if end.is_none() {
            let gone = lease::Entity::delete_by_id(name.as_str()).exec(db).await;
            gone.map_err(failed("remove a lease"))?;
        }
    }
    let leases = batch.leases.values().flatten().map(lease::Model::from);
    upsert(db, leases.collect(), &[])
        .await
        .map_err(failed("write leases"))
}

/// Rows that hold a name which another record of the same commit takes over: removed before that one is written.
#[derive(Default)]
struct Moving {
    applications: Vec<Uuid>,
    children: Vec<Uuid>,
}

async fn check_names(db: &impl ConnectionTrait, batch: &Batch) -> Result<Moving, StoreError> {
    let mut applications: Vec<(AppKey, AppUid)> = Vec::new();
    for piece in pieces(&batch.wanted_keys()) {
        use application::{Column, Entity};
        let rows = Entity::find()
            .filter(
                Expr::tuple([Expr::col(Column::Namespace), Expr::col(Column::Name)]).in_tuples(
                    piece
                        .iter()
                        .map(|key| (key.namespace.as_str(), key.name.as_str())),
                ),
            )
            .all(db)
            .await
            .map_err(failed("look up names of applications"))?;
        for row in rows {
            let key = Table("application").key(&row.namespace, &row.name, &row.owner)?;
            applications.push((key, AppUid(row.uid)));
        }
    }
    let mut children = Vec::new();
    for piece in pieces(&batch.wanted_names()) {
        use child::{Column, Entity};
        let rows: Vec<(Uuid, String)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::Name])
            .filter(Column::Name.is_in(piece.iter().map(|name| name.as_str())))
            .into_tuple()
            .all(db)
            .await
            .map_err(failed("look up names of children"))?;
        for (id, name) in rows {
            children.push((Table("child").name(&name)?, ChildId(id)));
        }
    }
    if let Some(what) = batch.conflict(&applications, &children) {
        return Err(StoreError::Exists { what });
    }
    let mut moving = Moving::default();
    for (key, uid) in applications {
        if let Some(Some(staged)) = batch.applications.get(&uid)
            && staged.key != key
        {
            moving.applications.push(uid.0);
        }
    }
    for (name, id) in children {
        if let Some(Some(staged)) = batch.children.get(&id)
            && staged.name.as_ref() != Some(&name)
        {
            moving.children.push(id.0);
        }
    }
    Ok(moving)
}

/// The ids that a batch removes.
fn removed<'a, K: Copy + 'a, V: 'a>(
    ends: impl IntoIterator<Item = (&'a K, &'a Option<V>)>,
    id: impl Fn(K) -> Uuid,
) -> Vec<Uuid> {
    let ends = ends.into_iter().filter(|(_, end)| end.is_none());
    ends.map(|(key, _)| id(*key)).collect()
}

async fn gone(db: &impl ConnectionTrait, batch: &Batch) -> Result<Gone, StoreError> {
    let mut gone = Gone::default();
    for piece in pieces(&removed(&batch.applications, |uid| uid.0)) {
        use application::{Column, Entity};
        let rows: Vec<(Uuid, String, String)> = Entity::find()
            .select_only()
            .columns([Column::Uid, Column::Namespace, Column::Name])
            .filter(Column::Uid.is_in(piece.iter().copied()))
            .into_tuple()
            .all(db)
            .await
            .map_err(failed("read applications before removing them"))?;
        let rows = rows.into_iter();
        gone.applications
            .extend(rows.map(|(uid, namespace, name)| (AppUid(uid), namespace, name)));
    }
    let mut slots = Vec::new();
    for piece in pieces(&removed(&batch.slots, |id| id.0)) {
        use slot::{Column, Entity};
        let rows: Vec<(Uuid, String, String)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::Namespace, Column::Application])
            .filter(Column::Id.is_in(piece.iter().copied()))
            .into_tuple()
            .all(db)
            .await
            .map_err(failed("read slots before removing them"))?;
        slots.extend(rows);
    }
    for piece in pieces(&removed(&batch.assignments, |id| id.0)) {
        use assignment::{Column, Entity};
        let rows: Vec<(Uuid, String, String)> = Entity::find()
            .select_only()
            .columns([Column::Slot, Column::Namespace, Column::Application])
            .filter(Column::Id.is_in(piece.iter().copied()))
            .order_by_asc(Column::Id)
            .into_tuple()
            .all(db)
            .await
            .map_err(failed("read assignments before removing them"))?;
        slots.extend(rows);
    }
    gone.slots = slots
        .into_iter()
        .map(|(id, namespace, name)| (SlotId(id), namespace, name))
        .collect();
    for piece in pieces(&removed(&batch.children, |id| id.0)) {
        use child::{Column, Entity};
        let rows: Vec<(Uuid, Option<String>)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::Name])
            .filter(Column::Id.is_in(piece.iter().copied()))
            .into_tuple()
            .all(db)
            .await
            .map_err(failed("read children before removing them"))?;
        let rows = rows.into_iter();
        gone.children
            .extend(rows.map(|(id, name)| (ChildId(id), name.unwrap_or_default())));
    }
    Ok(gone)
}

async fn remove(
    db: &impl ConnectionTrait,
    batch: &Batch,
    moving: Moving,
) -> Result<(), StoreError> {
    // Services go with their application; those of applications that stay are written anew, as their number may change.
    let rewritten: Vec<Uuid> = batch.applications.keys().map(|uid| uid.0).collect();
    delete(db, service::Column::AppUid, &rewritten)
        .await
        .map_err(failed("remove services"))?;
    let mut applications = removed(&batch.applications, |uid| uid.0);
    applications.extend(moving.applications);
    delete(db, application::Column::Uid, &applications)
        .await
        .map_err(failed("remove applications"))?;
    let slots = removed(&batch.slots, |id| id.0);
    delete(db, slot::Column::Id, &slots)
        .await
        .map_err(failed("remove slots"))?;
    let assignments = removed(&batch.assignments, |id| id.0);
    delete(db, assignment::Column::Id, &assignments)
        .await
        .map_err(failed("remove assignments"))?;
    let mut children = removed(&batch.children, |id| id.0);
    children.extend(moving.children);
    delete(db, child::Column::Id, &children)
        .await
        .map_err(failed("remove children"))
}

async fn delete<C>(db: &impl ConnectionTrait, column: C, ids: &[Uuid]) -> Result<(), DbErr>
where
    C: ColumnTrait,
    C::EntityName: EntityTrait,
{
    for piece in pieces(ids) {
        let rows = C::EntityName::delete_many();
        rows.filter(column.is_in(piece.iter().copied()))
            .exec(db)
            .await?;
    }
    Ok(())
}

async fn put(
    db: &impl ConnectionTrait,
    batch: &mut Batch,
    revision: Revision,
) -> Result<(), StoreError> {
    let staged = || batch.applications.values().flatten();
    upsert(db, staged().map(application::Model::from).collect(), &[])
        .await
        .map_err(failed("write applications"))?;
    let services = staged().flat_map(|application| {
        let numbered = (0_i64..).zip(&application.services);
        numbered.map(|(position, of)| service::Model::new(application.uid, position, of))
    });
    insert(db, services.collect(), None)
        .await
        .map_err(failed("write services"))?;

    let specs = std::mem::take(&mut batch.specs).into_iter();
    let specs = specs.map(|(hash, body)| spec::Model {
        hash: hash.0.to_vec(),
        body,
    });
    let once = OnConflict::column(spec::Column::Hash)
        .do_nothing()
        .to_owned();
    insert(db, specs.collect(), Some(once))
        .await
        .map_err(failed("write specs"))?;

    let slots = batch.slots.values().flatten().map(slot::Model::from);
    upsert(db, slots.collect(), &[])
        .await
        .map_err(failed("write slots"))?;

    let (keep, replace): (Vec<_>, Vec<_>) = batch
        .assignments
        .values()
        .flatten()
        .partition(|(_, order)| *order == Order::Keep);
    let keep = keep
        .into_iter()
        .map(|(staged, _)| assignment::Model::from(staged));
    upsert(db, keep.collect(), &[assignment::Column::OrderRevision])
        .await
        .map_err(failed("write assignments"))?;
    let replace = replace.into_iter();
    let replace = replace.map(|(staged, _)| assignment::Model::from(staged));
    upsert(db, replace.collect(), &[])
        .await
        .map_err(failed("write ordered assignments"))?;

    let children = batch.children.values().flatten().map(child::Model::from);
    upsert(db, children.collect(), &[])
        .await
        .map_err(failed("write children"))?;

    let tombstones = batch.tombstones.iter();
    let tombstones = tombstones.map(|(id, of)| tombstone::Model {
        id: *id,
        at: of.at.0,
        child: of.child.map(|child| child.0),
    });
    upsert(db, tombstones.collect(), &[])
        .await
        .map_err(failed("write tombstones"))?;

    let events = (0_i64..).zip(std::mem::take(&mut batch.events));
    let events = events.map(|(position, of)| event::Model::new(revision, position, of));
    insert(db, events.collect(), None)
        .await
        .map_err(failed("write events"))?;

    let requests = std::mem::take(&mut batch.requests).into_values();
    upsert(db, requests.map(request::Model::from).collect(), &[])
        .await
        .map_err(failed("write answers"))
}

/// Inserts rows or replaces those with the same key, leaving the columns in `keep` as they are in those.
pub(super) async fn upsert<M, E>(
    db: &impl ConnectionTrait,
    rows: Vec<M>,
    keep: &[E::Column],
) -> Result<(), DbErr>
where
    E: EntityTrait<Model = M>,
    M: IntoActiveModel<E::ActiveModel> + ModelTrait<Entity = E> + Clone,
{
    let key: Vec<E::Column> = E::PrimaryKey::iter()
        .map(|part| part.into_column())
        .collect();
    let stays = |column: &E::Column| {
        let mut kept = key.iter().chain(keep);
        kept.any(|kept| kept.as_str() == column.as_str())
    };
    let others = E::Column::iter().filter(|column| !stays(column));
    let replace = OnConflict::columns(key.clone())
        .update_columns(others)
        .to_owned();
    insert(db, rows, Some(replace)).await
}

pub(super) async fn insert<M, E>(
    db: &impl ConnectionTrait,
    rows: Vec<M>,
    on_conflict: Option<OnConflict>,
) -> Result<(), DbErr>
where
    E: EntityTrait<Model = M>,
    M: IntoActiveModel<E::ActiveModel> + ModelTrait<Entity = E> + Clone,
{
    for piece in pieces(&rows) {
        let rows = piece
            .iter()
            .cloned()
            .map(IntoActiveModel::into_active_model);
        let mut insert = E::insert_many(rows);
        if let Some(on_conflict) = &on_conflict {
            insert = insert.on_conflict(on_conflict.clone());
        }
        match insert.exec_without_returning(db).await {
            // All of them are there already.
            Ok(_) | Err(DbErr::RecordNotInserted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes what is older; answers the newest revision whose changes were removed.
async fn compact(db: &impl ConnectionTrait, before: Time) -> Result<Option<Revision>, DbErr> {
    let old = event::Entity::delete_many().filter(event::Column::At.lt(before.0));
    old.exec(db).await?;
    let old = request::Entity::delete_many().filter(request::Column::At.lt(before.0));
    old.exec(db).await?;
    joins::compact(db, before).await?;
    let mut untold = Query::select();
    untold
        .column(child::Column::Id)
        .from(child::Entity)
        .and_where(child::Column::State.ne(ChildState::Ready.word()));
    let told = Condition::any()
        .add(tombstone::Column::Child.is_null())
        .add(tombstone::Column::Child.not_in_subquery(untold));
    tombstone::Entity::delete_many()
        .filter(tombstone::Column::At.lt(before.0))
        .filter(told)
        .exec(db)
        .await?;

    let mut services = Query::select();
    services
        .column(service::Column::SpecHash)
        .from(service::Entity);
    let mut slots = Query::select();
    slots.column(slot::Column::SpecHash).from(slot::Entity);
    let mut assignments = Query::select();
    assignments
        .column(assignment::Column::SpecHash)
        .from(assignment::Entity);
    spec::Entity::delete_many()
        .filter(spec::Column::Hash.not_in_subquery(services))
        .filter(spec::Column::Hash.not_in_subquery(slots))
        .filter(spec::Column::Hash.not_in_subquery(assignments))
        .exec(db)
        .await?;

    // By revision, not each by its time: the wall clock may have jumped, and a log with holes would lie.
    let newest: Option<Option<i64>> = change_log::Entity::find()
        .select_only()
        .column_as(change_log::Column::Revision.max(), "newest")
        .filter(change_log::Column::At.lt(before.0))
        .into_tuple()
        .one(db)
        .await?;
    let Some(newest) = newest.flatten() else {
        return Ok(None);
    };
    let old = change_log::Entity::delete_many();
    old.filter(change_log::Column::Revision.lte(newest))
        .exec(db)
        .await?;
    Ok(Some(newest.cast_unsigned()))
}
