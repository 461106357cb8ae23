//! Leases, and the number of the leader under which the newest fenced commit was made.

use sea_orm_migration::{
    prelude::{
        DbErr, MigrationName, MigrationTrait, SchemaManager, Table, TableCreateStatement,
        async_trait,
    },
    schema::{big_integer, text, uuid},
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_lease"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and naming it changes the signature that async_trait makes"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(lease()).await?;
        let leader_epoch = Table::alter()
            .table("meta")
            .add_column(big_integer("leader_epoch").default(0))
            .to_owned();
        manager.alter_table(leader_epoch).await
    }
}

fn lease() -> TableCreateStatement {
    Table::create()
        .table("lease")
        .col(text("name").primary_key())
        .col(uuid("holder"))
        .col(big_integer("epoch"))
        .col(big_integer("expires_at"))
        .to_owned()
}
