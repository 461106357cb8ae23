//! Users. The table has another name, as `user` is a word of SQL.

use edgeio_domain::time::Time;
use sea_orm::entity::prelude::*;

use crate::{
    access::User,
    api::StoreError,
    sql::{nested, row::Table},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// JSON.
    pub grants: String,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&User> for Model {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            name: user.name.clone(),
            grants: nested::grants(&user.grants),
            created_at: user.created_at.0,
        }
    }
}

impl TryFrom<Model> for User {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(User {
            id: row.id,
            name: row.name,
            grants: nested::read_grants(Table("account"), &row.grants)?,
            created_at: Time(row.created_at),
        })
    }
}
