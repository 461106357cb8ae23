//! The audit, by number.

use edgeio_domain::time::Time;
use sea_orm::entity::prelude::*;

use crate::{
    api::StoreError,
    audit::{AuditEntry, AuditRecord, Decision},
    sql::row::Table,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub at: i64,
    pub kind: String,
    pub id: String,
    pub name: String,
    pub method: String,
    pub source: String,
    pub request_id: String,
    pub verb: String,
    pub object: String,
    pub namespace: String,
    pub decision: String,
    pub detail: String,
    pub hash: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<AuditEntry> for Model {
    fn from(entry: AuditEntry) -> Self {
        let record = entry.record;
        Self {
            seq: entry.seq.cast_signed(),
            at: record.at.0,
            kind: record.kind,
            id: record.id,
            name: record.name,
            method: record.method,
            source: record.source,
            request_id: record.request_id,
            verb: record.verb,
            object: record.object,
            namespace: record.namespace,
            decision: record.decision.word().to_owned(),
            detail: record.detail,
            hash: entry.hash.to_vec(),
        }
    }
}

impl TryFrom<Model> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let table = Table("audit");
        let decision = Decision::parse(&row.decision);
        Ok(AuditEntry {
            seq: row.seq.cast_unsigned(),
            hash: table.hash(&row.hash)?.0,
            record: AuditRecord {
                at: Time(row.at),
                kind: row.kind,
                id: row.id,
                name: row.name,
                method: row.method,
                source: row.source,
                request_id: row.request_id,
                verb: row.verb,
                object: row.object,
                namespace: row.namespace,
                decision: decision
                    .ok_or_else(|| table.corrupt(format!("decision is {:?}", row.decision)))?,
                detail: row.detail,
            },
        })
    }
}
