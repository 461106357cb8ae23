//! Events, by the commit that recorded them and their place in it.

use edgeio_domain::{records::Event, time::Time};
use sea_orm::entity::prelude::*;

use crate::api::Revision;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub at: i64,
    pub namespace: String,
    pub subject: String,
    pub reason: String,
    pub message: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::sql) fn new(revision: Revision, position: i64, event: Event) -> Self {
        Self {
            revision: revision.cast_signed(),
            position,
            at: event.at.0,
            namespace: event.namespace,
            subject: event.subject,
            reason: event.reason,
            message: event.message,
        }
    }
}

impl From<Model> for Event {
    fn from(row: Model) -> Self {
        Event {
            at: Time(row.at),
            namespace: row.namespace,
            subject: row.subject,
            reason: row.reason,
            message: row.message,
        }
    }
}
