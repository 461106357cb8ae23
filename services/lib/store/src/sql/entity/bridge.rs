//! Bridges that have joined.

use edgeio_domain::time::Time;
use sea_orm::entity::prelude::*;

use crate::joins::Bridge;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bridge")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// Unique.
    pub public_key: String,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Bridge> for Model {
    fn from(bridge: &Bridge) -> Self {
        Self {
            id: bridge.id,
            name: bridge.name.clone(),
            public_key: bridge.public_key.clone(),
            created_at: bridge.created_at.0,
        }
    }
}

impl From<Model> for Bridge {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            public_key: row.public_key,
            created_at: Time(row.created_at),
        }
    }
}
