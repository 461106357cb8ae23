//! Users, tokens, namespaces and the audit as SQL.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{
    commit::{insert, upsert},
    entity::{account, audit, namespace, user_token},
    error::failed,
    row::limit,
};
use crate::{
    access::{Namespace, User, UserToken},
    api::StoreError,
    audit::{AuditEntry, AuditFilter, AuditHead},
    batch::Batch,
};

/// Writes what a batch has of it.
pub(super) async fn put(db: &impl ConnectionTrait, batch: &mut Batch) -> Result<(), StoreError> {
    for (id, end) in &batch.users {
        if end.is_none() {
            let gone = account::Entity::delete_by_id(*id).exec(db).await;
            gone.map_err(failed("remove a user"))?;
        }
    }
    for (id, end) in &batch.user_tokens {
        if end.is_none() {
            let gone = user_token::Entity::delete_by_id(id.as_str()).exec(db).await;
            gone.map_err(failed("remove a token"))?;
        }
    }
    for (name, end) in &batch.namespaces {
        if end.is_none() {
            let gone = namespace::Entity::delete_by_id(name.as_str())
                .exec(db)
                .await;
            gone.map_err(failed("remove a namespace"))?;
        }
    }
    let users = batch.users.values().flatten().map(account::Model::from);
    upsert(db, users.collect(), &[])
        .await
        .map_err(failed("write users"))?;
    let tokens = batch.user_tokens.values().flatten();
    upsert(db, tokens.map(user_token::Model::from).collect(), &[])
        .await
        .map_err(failed("write tokens"))?;
    let namespaces = batch.namespaces.values().flatten();
    upsert(db, namespaces.map(namespace::Model::from).collect(), &[])
        .await
        .map_err(failed("write namespaces"))?;
    if batch.audit.is_empty() {
        return Ok(());
    }
    let entries = batch.chain(head(db).await?);
    insert(
        db,
        entries.into_iter().map(audit::Model::from).collect(),
        None,
    )
    .await
    .map_err(failed("write the audit"))
}

pub(super) async fn users(db: &impl ConnectionTrait) -> Result<Vec<User>, StoreError> {
    let all = account::Entity::find().order_by_asc(account::Column::Id);
    let rows = all.all(db).await.map_err(failed("list users"))?;
    rows.into_iter().map(User::try_from).collect()
}

pub(super) async fn user(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<User>, StoreError> {
    let row = account::Entity::find_by_id(id).one(db).await;
    let row = row.map_err(failed("read a user"))?;
    row.map(User::try_from).transpose()
}

pub(super) async fn user_tokens(
    db: &impl ConnectionTrait,
    user: Option<Uuid>,
) -> Result<Vec<UserToken>, StoreError> {
    let mut query = user_token::Entity::find();
    if let Some(user) = user {
        query = query.filter(user_token::Column::Account.eq(user));
    }
    let query = query.order_by_asc(user_token::Column::Id);
    let rows = query.all(db).await.map_err(failed("list tokens"))?;
    rows.into_iter().map(UserToken::try_from).collect()
}

pub(super) async fn user_token(
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<UserToken>, StoreError> {
    let row = user_token::Entity::find_by_id(id).one(db).await;
    let row = row.map_err(failed("read a token"))?;
    row.map(UserToken::try_from).transpose()
}

pub(super) async fn namespaces(db: &impl ConnectionTrait) -> Result<Vec<Namespace>, StoreError> {
    let all = namespace::Entity::find().order_by_asc(namespace::Column::Name);
    let rows = all.all(db).await.map_err(failed("list namespaces"))?;
    rows.into_iter().map(Namespace::try_from).collect()
}

pub(super) async fn namespace(
    db: &impl ConnectionTrait,
    name: &str,
) -> Result<Option<Namespace>, StoreError> {
    let row = namespace::Entity::find_by_id(name).one(db).await;
    let row = row.map_err(failed("read a namespace"))?;
    row.map(Namespace::try_from).transpose()
}

pub(super) async fn head(db: &impl ConnectionTrait) -> Result<AuditHead, StoreError> {
    let newest = AuditFilter {
        limit: 1,
        ..AuditFilter::default()
    };
    let newest = audit(db, &newest).await?;
    Ok(newest.first().map(AuditHead::from).unwrap_or_default())
}

pub(super) async fn audit(
    db: &impl ConnectionTrait,
    filter: &AuditFilter,
) -> Result<Vec<AuditEntry>, StoreError> {
    use audit::{Column, Entity};
    let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
    let mut query = Entity::find();
    if let Some(before) = filter.before {
        query = query.filter(Column::Seq.lt(number(before)));
    }
    query = match filter.after {
        Some(after) => query
            .filter(Column::Seq.gt(number(after)))
            .order_by_asc(Column::Seq),
        None => query.order_by_desc(Column::Seq),
    };
    let rows = query.limit(limit(filter.limit)).all(db).await;
    let rows = rows.map_err(failed("list the audit"))?;
    rows.into_iter().map(AuditEntry::try_from).collect()
}
