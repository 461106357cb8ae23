//! Children and their newest session.

use std::time::Duration;

use edgeio_domain::{
    child::{Capacity, Child},
    ids::{AttachId, ChildId},
    resources::Resources,
    time::Time,
};
use sea_orm::entity::prelude::*;

use crate::{
    api::StoreError,
    sql::{nested, row::Table, word::Word},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "child")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Unique; null while it has none.
    pub name: Option<String>,
    pub public_key: String,
    pub wished: Option<String>,
    pub address: String,
    pub version: String,
    pub inventory: Vec<u8>,
    pub workers: i64,
    pub allocatable_cpu_millis: i64,
    pub allocatable_memory_bytes: i64,
    pub free_cpu_millis: i64,
    pub free_memory_bytes: i64,
    /// JSON.
    pub buckets: String,
    pub includes_revision: i64,
    pub state: String,
    pub session_epoch: i64,
    pub attach: Uuid,
    pub adopting: bool,
    pub silence_ms: i64,
    pub replace: String,
    pub holder: Option<Uuid>,
    /// JSON; null while they are not known.
    pub features: Option<String>,
    pub boot_id: String,
    pub last_heard: i64,
    pub created_at: i64,
    pub revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Child> for Model {
    fn from(child: &Child) -> Self {
        let capacity = &child.capacity;
        Self {
            id: child.id.0,
            name: child.name.as_ref().map(|name| name.as_str().to_owned()),
            public_key: child.public_key.clone(),
            wished: child.wished.as_ref().map(ToString::to_string),
            address: child.address.clone(),
            version: child.version.clone(),
            inventory: child.inventory.clone(),
            workers: i64::from(capacity.workers),
            allocatable_cpu_millis: capacity.allocatable.cpu_millis,
            allocatable_memory_bytes: capacity.allocatable.memory_bytes,
            free_cpu_millis: capacity.free.cpu_millis,
            free_memory_bytes: capacity.free.memory_bytes,
            buckets: nested::buckets(&capacity.buckets),
            includes_revision: capacity.includes_revision.cast_signed(),
            state: child.state.word().to_owned(),
            session_epoch: child.session_epoch.cast_signed(),
            attach: child.attach.0,
            adopting: child.adopting,
            silence_ms: i64::try_from(child.silence.as_millis()).unwrap_or(i64::MAX),
            replace: child.replace.word().to_owned(),
            holder: child.holder,
            features: child.features.as_ref().map(nested::features),
            boot_id: child.boot_id.clone(),
            last_heard: child.last_heard.0,
            created_at: child.created_at.0,
            revision: child.revision.cast_signed(),
        }
    }
}

impl TryFrom<Model> for Child {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let table = Table("child");
        Ok(Child {
            id: ChildId(row.id),
            name: row.name.map(|name| table.name(&name)).transpose()?,
            public_key: row.public_key,
            wished: row.wished.map(|name| table.name(&name)).transpose()?,
            address: row.address,
            version: row.version,
            inventory: row.inventory,
            capacity: Capacity {
                workers: table.small("workers", row.workers)?,
                allocatable: Resources {
                    cpu_millis: row.allocatable_cpu_millis,
                    memory_bytes: row.allocatable_memory_bytes,
                },
                free: Resources {
                    cpu_millis: row.free_cpu_millis,
                    memory_bytes: row.free_memory_bytes,
                },
                buckets: nested::parse_buckets(table, &row.buckets)?,
                includes_revision: row.includes_revision.cast_unsigned(),
            },
            state: table.word("state", &row.state)?,
            session_epoch: row.session_epoch.cast_unsigned(),
            attach: AttachId(row.attach),
            adopting: row.adopting,
            silence: Duration::from_millis(row.silence_ms.cast_unsigned()),
            replace: table.word("replace", &row.replace)?,
            holder: row.holder,
            features: row
                .features
                .map(|text| nested::parse_features(table, &text))
                .transpose()?,
            boot_id: row.boot_id,
            last_heard: Time(row.last_heard),
            created_at: Time(row.created_at),
            revision: row.revision.cast_unsigned(),
        })
    }
}
