//! The log of changes: which things each commit touched, with the names that a filter needs once they are gone.

use edgeio_domain::time::Time;
use sea_orm::entity::prelude::*;

use crate::{
    api::{Change, StoreError},
    sql::{row::Table, word::Word},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "change_log")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub namespace: String,
    pub name: String,
    /// When the commit was made, by this tier's wall clock.
    pub at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::sql) fn new(change: Change, at: Time) -> Self {
        Self {
            revision: change.revision.cast_signed(),
            kind: change.kind.word().to_owned(),
            id: change.id,
            namespace: change.namespace,
            name: change.name,
            at: at.0,
        }
    }
}

impl TryFrom<Model> for Change {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(Change {
            revision: row.revision.cast_unsigned(),
            kind: Table("change_log").word("kind", &row.kind)?,
            id: row.id,
            namespace: row.namespace,
            name: row.name,
        })
    }
}
