//! Tombstones name the child that may still run what they bury.

use sea_orm_migration::{
    prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager, Table, async_trait},
    schema::uuid_null,
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_tombstone_child"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and naming it changes the signature that async_trait makes"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let child = Table::alter()
            .table("tombstone")
            .add_column(uuid_null("child"))
            .to_owned();
        manager.alter_table(child).await
    }
}
