//! Facts of the database: one row.

use edgeio_domain::{child::Accepted, ids::Lineage};
use sea_orm::entity::prelude::*;

use crate::api::{Meta, Uplink};

/// The key of the only row.
pub(in crate::sql) const ONLY: i32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "meta")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    pub lineage: Uuid,
    pub issuer_epoch: i64,
    pub revision: i64,
    pub session_epoch: i64,
    pub uplink_lineage: Option<Uuid>,
    pub uplink_issuer_epoch: Option<i64>,
    pub uplink_revision: Option<i64>,
    /// Changes up to this revision are no longer kept.
    pub compacted_revision: i64,
    pub leader_epoch: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::sql) fn new(meta: &Meta, compacted: u64) -> Self {
        let accepted = meta.uplink.accepted;
        Self {
            id: ONLY,
            lineage: meta.lineage.0,
            issuer_epoch: meta.issuer_epoch.cast_signed(),
            revision: meta.revision.cast_signed(),
            session_epoch: meta.session_epoch.cast_signed(),
            uplink_lineage: accepted.map(|accepted| accepted.lineage.0),
            uplink_issuer_epoch: accepted.map(|accepted| accepted.issuer_epoch.cast_signed()),
            uplink_revision: accepted.map(|accepted| accepted.revision.cast_signed()),
            compacted_revision: compacted.cast_signed(),
            leader_epoch: meta.leader_epoch.cast_signed(),
        }
    }

    pub(in crate::sql) fn record(&self) -> Meta {
        let accepted = self.uplink_lineage.map(|lineage| Accepted {
            lineage: Lineage(lineage),
            issuer_epoch: self.uplink_issuer_epoch.unwrap_or_default().cast_unsigned(),
            revision: self.uplink_revision.unwrap_or_default().cast_unsigned(),
        });
        Meta {
            lineage: Lineage(self.lineage),
            issuer_epoch: self.issuer_epoch.cast_unsigned(),
            revision: self.revision.cast_unsigned(),
            session_epoch: self.session_epoch.cast_unsigned(),
            uplink: Uplink { accepted },
            leader_epoch: self.leader_epoch.cast_unsigned(),
        }
    }
}
