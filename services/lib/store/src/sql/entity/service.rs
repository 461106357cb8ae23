//! Services of applications, in the order of the manifest.

use edgeio_domain::{ids::AppUid, records::Service};
use sea_orm::entity::prelude::*;

use crate::{api::StoreError, sql::row::Table};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "service")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub app_uid: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub name: String,
    pub replicas: i64,
    pub spec_hash: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub(in crate::sql) fn new(uid: AppUid, position: i64, service: &Service) -> Self {
        Self {
            app_uid: uid.0,
            position,
            name: service.name.as_str().to_owned(),
            replicas: i64::from(service.replicas),
            spec_hash: service.spec_hash.0.to_vec(),
        }
    }

    pub(in crate::sql) fn record(&self) -> Result<Service, StoreError> {
        let table = Table("service");
        Ok(Service {
            name: table.name(&self.name)?,
            replicas: table.small("replicas", self.replicas)?,
            spec_hash: table.hash(&self.spec_hash)?,
        })
    }
}
