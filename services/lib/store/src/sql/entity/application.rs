//! Applications; their services are in a table of their own.

use edgeio_domain::{
    ids::AppUid,
    records::{Application, Service},
    time::Time,
};
use sea_orm::entity::prelude::*;

use crate::{
    api::StoreError,
    sql::row::{Table, owner_text},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "application")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    pub namespace: String,
    pub name: String,
    pub owner: String,
    pub version: i64,
    pub deleted_at: Option<i64>,
    pub created_at: i64,
    pub revision: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<&Application> for Model {
    fn from(application: &Application) -> Self {
        Self {
            uid: application.uid.0,
            namespace: application.key.namespace.as_str().to_owned(),
            name: application.key.name.as_str().to_owned(),
            owner: owner_text(application.key.owner),
            version: application.version.cast_signed(),
            deleted_at: application.deleted_at.map(|at| at.0),
            created_at: application.created_at.0,
            revision: application.revision.cast_signed(),
        }
    }
}

impl Model {
    pub(in crate::sql) fn record(self, services: Vec<Service>) -> Result<Application, StoreError> {
        let table = Table("application");
        Ok(Application {
            key: table.key(&self.namespace, &self.name, &self.owner)?,
            uid: AppUid(self.uid),
            version: self.version.cast_unsigned(),
            services,
            deleted_at: self.deleted_at.map(Time),
            created_at: Time(self.created_at),
            revision: self.revision.cast_unsigned(),
        })
    }
}
