//! Who may do something alone, and under which number.

use edgeio_domain::time::Time;
use sea_orm::entity::prelude::*;

use crate::api::Lease;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lease")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub holder: Uuid,
    pub epoch: i64,
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Lease> for Model {
    fn from(lease: &Lease) -> Self {
        Self {
            name: lease.name.clone(),
            holder: lease.holder,
            epoch: lease.epoch.cast_signed(),
            expires_at: lease.expires_at.0,
        }
    }
}

impl From<Model> for Lease {
    fn from(row: Model) -> Self {
        Self {
            name: row.name,
            holder: row.holder,
            epoch: row.epoch.cast_unsigned(),
            expires_at: Time(row.expires_at),
        }
    }
}
