//! Join tokens and bridges as SQL.

use edgeio_domain::time::Time;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, ExprTrait},
};

use super::{
    commit::upsert,
    entity::{bridge, join_token},
    error::failed,
};
use crate::{
    api::StoreError,
    batch::Batch,
    joins::{Bridge, JoinToken},
};

/// Writes what a batch has of it. Each use is one conditional statement: whoever finds no use left gets no row, and with it
/// the whole commit is undone.
pub(super) async fn put(db: &impl ConnectionTrait, batch: &Batch) -> Result<(), StoreError> {
    use join_token::{Column, Entity};
    for (id, end) in &batch.bridges {
        if end.is_none() {
            let gone = bridge::Entity::delete_by_id(*id).exec(db).await;
            gone.map_err(failed("remove a bridge"))?;
        }
    }
    let bridges = batch.bridges.values().flatten().map(bridge::Model::from);
    upsert(db, bridges.collect(), &[])
        .await
        .map_err(failed("write bridges"))?;
    let tokens = batch.join_tokens.iter().map(join_token::Model::from);
    upsert(db, tokens.collect(), &[])
        .await
        .map_err(failed("write join tokens"))?;
    for (id, at) in &batch.join_revoked {
        let revoked = Entity::update_many()
            .col_expr(Column::RevokedAt, Expr::value(at.0))
            .filter(Column::Id.eq(id.as_str()))
            .filter(Column::RevokedAt.is_null());
        let revoked = revoked.exec(db).await;
        revoked.map_err(failed("revoke a join token"))?;
    }
    for (id, now) in &batch.join_uses {
        let used = Entity::update_many()
            .col_expr(Column::Uses, Expr::col(Column::Uses).add(1))
            .filter(Column::Id.eq(id.as_str()))
            .filter(Expr::col(Column::Uses).lt(Expr::col(Column::MaxUses)))
            .filter(Column::RevokedAt.is_null())
            .filter(Column::ExpiresAt.gt(now.0));
        let used = used.exec(db).await.map_err(failed("use a join token"))?;
        if used.rows_affected != 1 {
            return Err(StoreError::Spent { token: id.clone() });
        }
    }
    Ok(())
}

pub(super) async fn compact(db: &impl ConnectionTrait, before: Time) -> Result<(), DbErr> {
    let old = join_token::Entity::delete_many();
    old.filter(join_token::Column::ExpiresAt.lt(before.0))
        .exec(db)
        .await?;
    Ok(())
}

pub(super) async fn tokens(db: &impl ConnectionTrait) -> Result<Vec<JoinToken>, StoreError> {
    let all = join_token::Entity::find().order_by_asc(join_token::Column::Id);
    let rows = all.all(db).await.map_err(failed("list join tokens"))?;
    rows.into_iter().map(JoinToken::try_from).collect()
}

pub(super) async fn token(
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<JoinToken>, StoreError> {
    let row = join_token::Entity::find_by_id(id).one(db).await;
    let row = row.map_err(failed("read a join token"))?;
    row.map(JoinToken::try_from).transpose()
}

pub(super) async fn bridge_by_key(
    db: &impl ConnectionTrait,
    public_key: &str,
) -> Result<Option<Bridge>, StoreError> {
    let with_key = bridge::Entity::find().filter(bridge::Column::PublicKey.eq(public_key));
    let row = with_key.one(db).await;
    let row = row.map_err(failed("find a bridge by its key"))?;
    Ok(row.map(Bridge::from))
}

pub(super) async fn bridges(db: &impl ConnectionTrait) -> Result<Vec<Bridge>, StoreError> {
    let all = bridge::Entity::find().order_by_asc(bridge::Column::Id);
    let rows = all.all(db).await.map_err(failed("list bridges"))?;
    Ok(rows.into_iter().map(Bridge::from).collect())
}
