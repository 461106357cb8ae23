//! What lets machines join, without its secret.

use edgeio_domain::time::Time;
use sea_orm::entity::prelude::*;

use crate::{
    api::StoreError,
    joins::{JoinKind, JoinToken},
    sql::row::Table,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "join_token")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub secret_hash: Vec<u8>,
    pub kind: String,
    pub names: String,
    pub max_uses: i64,
    pub uses: i64,
    pub creator: String,
    pub created_at: i64,
    pub expires_at: i64,
    pub revoked_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&JoinToken> for Model {
    fn from(token: &JoinToken) -> Self {
        Self {
            id: token.id.clone(),
            secret_hash: token.secret_hash.to_vec(),
            kind: token.kind.word().to_owned(),
            names: token.names.clone(),
            max_uses: i64::from(token.max_uses),
            uses: i64::from(token.uses),
            creator: token.creator.clone(),
            created_at: token.created_at.0,
            expires_at: token.expires_at.0,
            revoked_at: token.revoked_at.map(|at| at.0),
        }
    }
}

impl TryFrom<Model> for JoinToken {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let table = Table("join_token");
        Ok(JoinToken {
            secret_hash: table.hash(&row.secret_hash)?.0,
            kind: JoinKind::parse(&row.kind)
                .ok_or_else(|| table.corrupt(format!("kind is {:?}", row.kind)))?,
            max_uses: table.small("max_uses", row.max_uses)?,
            uses: table.small("uses", row.uses)?,
            id: row.id,
            names: row.names,
            creator: row.creator,
            created_at: Time(row.created_at),
            expires_at: Time(row.expires_at),
            revoked_at: row.revoked_at.map(Time),
        })
    }
}
