//! Children are looked up by their key with each call that they make. Not unique: old tiers may have recorded children without one.

use sea_orm_migration::prelude::{
    DbErr, Index, MigrationName, MigrationTrait, SchemaManager, async_trait,
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0008_child_key"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and naming it changes the signature that async_trait makes"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let by_key = Index::create()
            .name("child_public_key")
            .table("child")
            .col("public_key")
            .to_owned();
        manager.create_index(by_key).await
    }
}
