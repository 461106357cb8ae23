//! Users, their tokens, namespaces, the audit. Namespaces that are in use already are made.

use sea_orm_migration::{
    prelude::{
        ConnectionTrait as _, DbErr, Expr, ExprTrait as _, Index, MigrationName, MigrationTrait,
        Query, SchemaManager, Table, TableCreateStatement, async_trait,
    },
    schema::{big_integer, big_integer_null, blob, text, uuid},
};

use crate::access::DEFAULT_NAMESPACE;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_access"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and naming it changes the signature that async_trait makes"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [account(), user_token(), namespace(), audit()] {
            manager.create_table(table).await?;
        }
        let by_user = Index::create()
            .name("user_token_user")
            .table("user_token")
            .col("account")
            .to_owned();
        manager.create_index(by_user).await?;
        let db = manager.get_connection();
        let columns = ["name", "created_at"];
        let default = Query::insert()
            .into_table("namespace")
            .columns(columns)
            .values_panic([Expr::val(DEFAULT_NAMESPACE), Expr::val(0)])
            .to_owned();
        db.execute(&default).await?;
        let in_use = Query::select()
            .distinct()
            .column("namespace")
            .expr(Expr::val(0))
            .from("application")
            .and_where(Expr::col("namespace").ne(DEFAULT_NAMESPACE))
            .to_owned();
        let mut used = Query::insert();
        used.into_table("namespace").columns(columns);
        used.select_from(in_use)
            .map_err(|error| DbErr::Custom(error.to_string()))?;
        db.execute(&used).await?;
        Ok(())
    }
}

// `user` is a word of PostgreSQL's.
fn account() -> TableCreateStatement {
    Table::create()
        .table("account")
        .col(uuid("id").primary_key())
        .col(text("name"))
        .col(text("grants"))
        .col(big_integer("created_at"))
        .to_owned()
}

fn user_token() -> TableCreateStatement {
    Table::create()
        .table("user_token")
        .col(text("id").primary_key())
        .col(uuid("account"))
        .col(text("note"))
        .col(blob("secret_hash"))
        .col(big_integer("created_at"))
        .col(big_integer_null("expires_at"))
        .col(big_integer_null("revoked_at"))
        .col(big_integer_null("last_used_at"))
        .to_owned()
}

fn namespace() -> TableCreateStatement {
    Table::create()
        .table("namespace")
        .col(text("name").primary_key())
        .col(big_integer_null("cpu_millis"))
        .col(big_integer_null("memory_bytes"))
        .col(big_integer_null("instances"))
        .col(big_integer_null("applications"))
        .col(big_integer("created_at"))
        .to_owned()
}

fn audit() -> TableCreateStatement {
    Table::create()
        .table("audit")
        .col(big_integer("seq").primary_key())
        .col(big_integer("at"))
        .col(text("kind"))
        .col(text("id"))
        .col(text("name"))
        .col(text("method"))
        .col(text("source"))
        .col(text("request_id"))
        .col(text("verb"))
        .col(text("object"))
        .col(text("namespace"))
        .col(text("decision"))
        .col(text("detail"))
        .col(blob("hash"))
        .to_owned()
}
