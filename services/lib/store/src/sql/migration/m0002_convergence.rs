//! What convergence adds to children and assignments: how long a child is silent, whether it is replaced, who holds its
//! session, and whether a cluster hears of an instance.

use sea_orm_migration::{
    prelude::{ColumnDef, DbErr, MigrationName, MigrationTrait, SchemaManager, Table, async_trait},
    schema::{big_integer, boolean, text, uuid_null},
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_convergence"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and naming it changes the signature that async_trait makes"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column a statement: SQLite adds no more at once.
        add(manager, "child", big_integer("silence_ms").default(0)).await?;
        add(manager, "child", text("replace").default("no")).await?;
        add(manager, "child", &mut uuid_null("holder")).await?;
        add(
            manager,
            "assignment",
            boolean("seen_unreachable").default(false),
        )
        .await
    }
}

async fn add(
    manager: &SchemaManager<'_>,
    table: &'static str,
    column: &mut ColumnDef,
) -> Result<(), DbErr> {
    let change = Table::alter().table(table).add_column(column).to_owned();
    manager.alter_table(change).await
}
