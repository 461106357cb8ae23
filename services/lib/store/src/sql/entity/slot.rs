//! Slots: one row each, with the columns of the parent tier beside their own.

use edgeio_domain::{
    ids::{AppUid, SlotId},
    records::{Slot, Upstream},
    resources::Resources,
    time::Time,
};
use sea_orm::entity::prelude::*;

use crate::{
    api::StoreError,
    sql::{
        nested,
        row::{Table, owner_text},
        word::Word,
    },
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "slot")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub namespace: String,
    pub application: String,
    pub service: String,
    pub ordinal: i64,
    pub owner: String,
    pub app_uid: Uuid,
    pub desired: String,
    pub restart_count: i64,
    pub spec_hash: Vec<u8>,
    pub cpu_millis: i64,
    pub memory_bytes: i64,
    /// The parent's side; all of these are null where the tier owns the slot.
    pub upstream_slot: Option<Uuid>,
    pub upstream_generation: Option<i64>,
    pub upstream_instance: Option<Uuid>,
    pub upstream_worker: Option<Uuid>,
    pub upstream_worker_name: Option<String>,
    pub upstream_hold_until: Option<i64>,
    pub upstream_orphan: Option<bool>,
    pub upstream_returned: Option<String>,
    /// JSON.
    pub refusals: String,
    /// JSON.
    pub pending: String,
    pub created_at: i64,
    pub revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Slot> for Model {
    fn from(slot: &Slot) -> Self {
        let upstream = slot.upstream.as_ref();
        let recorded = upstream.and_then(|upstream| upstream.recorded.as_ref());
        Self {
            id: slot.id.0,
            namespace: slot.app.namespace.as_str().to_owned(),
            application: slot.app.name.as_str().to_owned(),
            service: slot.service.as_str().to_owned(),
            ordinal: i64::from(slot.ordinal),
            owner: owner_text(slot.app.owner),
            app_uid: slot.app_uid.0,
            desired: slot.desired.word().to_owned(),
            restart_count: i64::from(slot.restart_count),
            spec_hash: slot.spec_hash.0.to_vec(),
            cpu_millis: slot.demand.cpu_millis,
            memory_bytes: slot.demand.memory_bytes,
            upstream_slot: upstream.map(|upstream| upstream.slot.0),
            upstream_generation: upstream.map(|upstream| upstream.generation.cast_signed()),
            upstream_instance: recorded.map(|recorded| recorded.instance.0),
            upstream_worker: recorded.map(|recorded| recorded.worker.0),
            upstream_worker_name: recorded.map(|recorded| recorded.worker_name.clone()),
            upstream_hold_until: upstream.map(|upstream| upstream.hold_until.0),
            upstream_orphan: upstream.map(|upstream| upstream.orphan),
            upstream_returned: upstream.and_then(|upstream| upstream.returned.clone()),
            refusals: nested::refusals(&slot.refusals),
            pending: nested::candidates(&slot.pending),
            created_at: slot.created_at.0,
            revision: slot.revision.cast_signed(),
        }
    }
}

impl TryFrom<Model> for Slot {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let table = Table("slot");
        let recorded = table.incarnation(
            row.upstream_instance,
            row.upstream_worker,
            row.upstream_worker_name,
        )?;
        let upstream = row.upstream_slot.map(|slot| Upstream {
            slot: SlotId(slot),
            generation: row.upstream_generation.unwrap_or_default().cast_unsigned(),
            recorded,
            hold_until: Time(row.upstream_hold_until.unwrap_or_default()),
            orphan: row.upstream_orphan.unwrap_or_default(),
            returned: row.upstream_returned,
        });
        Ok(Slot {
            id: SlotId(row.id),
            app: table.key(&row.namespace, &row.application, &row.owner)?,
            app_uid: AppUid(row.app_uid),
            service: table.name(&row.service)?,
            ordinal: table.small("ordinal", row.ordinal)?,
            desired: table.word("desired", &row.desired)?,
            restart_count: table.small("restart_count", row.restart_count)?,
            spec_hash: table.hash(&row.spec_hash)?,
            demand: Resources {
                cpu_millis: row.cpu_millis,
                memory_bytes: row.memory_bytes,
            },
            upstream,
            refusals: nested::parse_refusals(table, &row.refusals)?,
            pending: nested::parse_candidates(table, &row.pending)?,
            created_at: Time(row.created_at),
            revision: row.revision.cast_unsigned(),
        })
    }
}
