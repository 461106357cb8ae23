//! Answers to requests, kept with their effects.

use edgeio_domain::time::Time;
use sea_orm::entity::prelude::*;

use crate::{
    api::{RequestRecord, StoreError},
    sql::row::Table,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "request")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub request_id: String,
    pub method: String,
    pub body_hash: Vec<u8>,
    pub response: Vec<u8>,
    pub at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<RequestRecord> for Model {
    fn from(request: RequestRecord) -> Self {
        Self {
            request_id: request.request_id,
            method: request.method,
            body_hash: request.body_hash.to_vec(),
            response: request.response,
            at: request.at.0,
        }
    }
}

impl TryFrom<Model> for RequestRecord {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        Ok(RequestRecord {
            request_id: row.request_id,
            method: row.method,
            body_hash: Table("request").hash(&row.body_hash)?.0,
            response: row.response,
            at: Time(row.at),
        })
    }
}
