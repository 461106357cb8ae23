//! Namespaces and their quotas.

use edgeio_domain::time::Time;
use sea_orm::entity::prelude::*;

use crate::{
    access::{Namespace, Quota},
    api::StoreError,
    sql::row::Table,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "namespace")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub cpu_millis: Option<i64>,
    pub memory_bytes: Option<i64>,
    pub instances: Option<i64>,
    pub applications: Option<i64>,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Namespace> for Model {
    fn from(namespace: &Namespace) -> Self {
        let quota = &namespace.quota;
        Self {
            name: namespace.name.as_str().to_owned(),
            cpu_millis: quota.cpu_millis.map(u64::cast_signed),
            memory_bytes: quota.memory_bytes.map(u64::cast_signed),
            instances: quota.instances.map(u64::cast_signed),
            applications: quota.applications.map(u64::cast_signed),
            created_at: namespace.created_at.0,
        }
    }
}

impl TryFrom<Model> for Namespace {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Namespace {
            name: Table("namespace").name(&row.name)?,
            quota: Quota {
                cpu_millis: row.cpu_millis.map(i64::cast_unsigned),
                memory_bytes: row.memory_bytes.map(i64::cast_unsigned),
                instances: row.instances.map(i64::cast_unsigned),
                applications: row.applications.map(i64::cast_unsigned),
            },
            created_at: Time(row.created_at),
        })
    }
}
