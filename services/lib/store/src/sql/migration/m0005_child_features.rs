//! What children can do, for placing and for sessions that outlive a start of the tier. Null in the rows that are there: their
//! children are asked again.

use sea_orm_migration::{
    prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager, Table, async_trait},
    schema::text_null,
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0005_child_features"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and naming it changes the signature that async_trait makes"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let features = Table::alter()
            .table("child")
            .add_column(text_null("features"))
            .to_owned();
        manager.alter_table(features).await
    }
}
