//! Join tokens, bridges, and the name that a child asked for when another one had it.

use sea_orm_migration::{
    prelude::{
        DbErr, MigrationName, MigrationTrait, SchemaManager, Table, TableCreateStatement,
        async_trait,
    },
    schema::{big_integer, big_integer_null, blob, text, text_null, uuid},
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0007_join"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and naming it changes the signature that async_trait makes"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(join_token()).await?;
        manager.create_table(bridge()).await?;
        let wished = Table::alter()
            .table("child")
            .add_column(text_null("wished"))
            .to_owned();
        manager.alter_table(wished).await
    }
}

fn join_token() -> TableCreateStatement {
    Table::create()
        .table("join_token")
        .col(text("id").primary_key())
        .col(blob("secret_hash"))
        .col(text("kind"))
        .col(text("names"))
        .col(big_integer("max_uses"))
        .col(big_integer("uses"))
        .col(text("creator"))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("revoked_at"))
        .to_owned()
}

fn bridge() -> TableCreateStatement {
    Table::create()
        .table("bridge")
        .col(uuid("id").primary_key())
        .col(text("name"))
        .col(text("public_key").unique_key())
        .col(big_integer("created_at"))
        .to_owned()
}
