//! What users show to be known, without its secret.

use edgeio_domain::time::Time;
use sea_orm::entity::prelude::*;

use crate::{access::UserToken, api::StoreError, sql::row::Table};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user_token")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub account: Uuid,
    pub note: String,
    pub secret_hash: Vec<u8>,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub revoked_at: Option<i64>,
    pub last_used_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&UserToken> for Model {
    fn from(token: &UserToken) -> Self {
        Self {
            id: token.id.clone(),
            account: token.user,
            note: token.note.clone(),
            secret_hash: token.secret_hash.to_vec(),
            created_at: token.created_at.0,
            expires_at: token.expires_at.map(|at| at.0),
            revoked_at: token.revoked_at.map(|at| at.0),
            last_used_at: token.last_used_at.map(|at| at.0),
        }
    }
}

impl TryFrom<Model> for UserToken {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(UserToken {
            id: row.id,
            user: row.account,
            note: row.note,
            secret_hash: Table("user_token").hash(&row.secret_hash)?.0,
            created_at: Time(row.created_at),
            expires_at: row.expires_at.map(Time),
            revoked_at: row.revoked_at.map(Time),
            last_used_at: row.last_used_at.map(Time),
        })
    }
}
