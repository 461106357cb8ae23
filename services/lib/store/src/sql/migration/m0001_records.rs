//! The tables of the first version.

use sea_orm_migration::{
    prelude::{
        DbErr, ForeignKey, ForeignKeyAction, Index, IndexCreateStatement, MigrationName,
        MigrationTrait, SchemaManager, Table, TableCreateStatement, async_trait,
    },
    schema::{
        big_integer, big_integer_null, blob, boolean, boolean_null, integer, integer_null, pk_uuid,
        text, text_null, uuid, uuid_null,
    },
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_records"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and naming it changes the signature that async_trait makes"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        meta(),
        application(),
        service(),
        spec(),
        slot(),
        assignment(),
        child(),
        tombstone(),
        event(),
        request(),
        change_log(),
    ]
}

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(name).to_owned()
}

fn key(columns: &[&'static str]) -> IndexCreateStatement {
    let mut key = Index::create();
    for column in columns {
        key.col(*column);
    }
    key.primary().to_owned()
}

fn meta() -> TableCreateStatement {
    table("meta")
        .col(integer("id").primary_key())
        .col(uuid("lineage"))
        .col(big_integer("issuer_epoch"))
        .col(big_integer("revision"))
        .col(big_integer("session_epoch"))
        .col(uuid_null("uplink_lineage"))
        .col(big_integer_null("uplink_issuer_epoch"))
        .col(big_integer_null("uplink_revision"))
        .col(big_integer("compacted_revision"))
        .to_owned()
}

fn application() -> TableCreateStatement {
    table("application")
        .col(pk_uuid("uid"))
        .col(text("namespace"))
        .col(text("name"))
        .col(text("owner"))
        .col(big_integer("version"))
        .col(big_integer_null("deleted_at"))
        .col(big_integer("created_at"))
        .col(big_integer("revision"))
        .to_owned()
}

fn service() -> TableCreateStatement {
    table("service")
        .col(uuid("app_uid"))
        .col(big_integer("position"))
        .col(text("name"))
        .col(big_integer("replicas"))
        .col(blob("spec_hash"))
        .primary_key(&mut key(&["app_uid", "position"]))
        .foreign_key(
            ForeignKey::create()
                .from("service", "app_uid")
                .to("application", "uid")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn spec() -> TableCreateStatement {
    table("spec")
        .col(blob("hash").primary_key())
        .col(blob("body"))
        .to_owned()
}

fn slot() -> TableCreateStatement {
    table("slot")
        .col(pk_uuid("id"))
        .col(text("namespace"))
        .col(text("application"))
        .col(text("service"))
        .col(big_integer("ordinal"))
        .col(text("owner"))
        .col(uuid("app_uid"))
        .col(text("desired"))
        .col(big_integer("restart_count"))
        .col(blob("spec_hash"))
        .col(big_integer("cpu_millis"))
        .col(big_integer("memory_bytes"))
        .col(uuid_null("upstream_slot"))
        .col(big_integer_null("upstream_generation"))
        .col(uuid_null("upstream_instance"))
        .col(uuid_null("upstream_worker"))
        .col(text_null("upstream_worker_name"))
        .col(big_integer_null("upstream_hold_until"))
        .col(boolean_null("upstream_orphan"))
        .col(text_null("upstream_returned"))
        .col(text("refusals"))
        .col(text("pending"))
        .col(big_integer("created_at"))
        .col(big_integer("revision"))
        .to_owned()
}

fn assignment() -> TableCreateStatement {
    table("assignment")
        .col(pk_uuid("id"))
        .col(uuid("slot"))
        .col(text("namespace"))
        .col(text("application"))
        .col(text("service"))
        .col(big_integer("ordinal"))
        .col(text("owner"))
        .col(uuid("app_uid"))
        .col(uuid("child"))
        .col(big_integer("generation"))
        .col(text("desired"))
        .col(big_integer("restart_count"))
        .col(blob("spec_hash"))
        .col(big_integer("cpu_millis"))
        .col(big_integer("memory_bytes"))
        .col(big_integer("seen_generation"))
        .col(big_integer("seen_restart_count"))
        .col(text("seen_phase"))
        .col(text("seen_reason"))
        .col(text("seen_message"))
        .col(integer_null("seen_exit_code"))
        .col(big_integer("seen_restarts"))
        .col(big_integer_null("seen_running_since"))
        .col(blob("seen_output_tail"))
        .col(text("seen_image_digest"))
        .col(text("seen_handle"))
        .col(uuid_null("seen_instance"))
        .col(uuid_null("seen_worker"))
        .col(text_null("seen_worker_name"))
        .col(text("seen_candidates"))
        .col(big_integer("created_at"))
        .col(big_integer("order_revision"))
        .col(big_integer("revision"))
        .to_owned()
}

fn child() -> TableCreateStatement {
    table("child")
        .col(pk_uuid("id"))
        .col(text_null("name"))
        .col(text("public_key"))
        .col(text("address"))
        .col(text("version"))
        .col(blob("inventory"))
        .col(big_integer("workers"))
        .col(big_integer("allocatable_cpu_millis"))
        .col(big_integer("allocatable_memory_bytes"))
        .col(big_integer("free_cpu_millis"))
        .col(big_integer("free_memory_bytes"))
        .col(text("buckets"))
        .col(big_integer("includes_revision"))
        .col(text("state"))
        .col(big_integer("session_epoch"))
        .col(uuid("attach"))
        .col(boolean("adopting"))
        .col(text("boot_id"))
        .col(big_integer("last_heard"))
        .col(big_integer("created_at"))
        .col(big_integer("revision"))
        .to_owned()
}

fn tombstone() -> TableCreateStatement {
    table("tombstone")
        .col(pk_uuid("id"))
        .col(big_integer("at"))
        .to_owned()
}

fn event() -> TableCreateStatement {
    table("event")
        .col(big_integer("revision"))
        .col(big_integer("position"))
        .col(big_integer("at"))
        .col(text("namespace"))
        .col(text("subject"))
        .col(text("reason"))
        .col(text("message"))
        .primary_key(&mut key(&["revision", "position"]))
        .to_owned()
}

fn request() -> TableCreateStatement {
    table("request")
        .col(text("request_id").primary_key())
        .col(text("method"))
        .col(blob("body_hash"))
        .col(blob("response"))
        .col(big_integer("at"))
        .to_owned()
}

fn change_log() -> TableCreateStatement {
    table("change_log")
        .col(big_integer("revision"))
        .col(text("kind"))
        .col(uuid("id"))
        .col(text("namespace"))
        .col(text("name"))
        .col(big_integer("at"))
        .primary_key(&mut key(&["revision", "kind", "id"]))
        .to_owned()
}

fn index(
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(*column);
    }
    index
}

/// What the filters ask by; the order of the columns is the order of the lists.
fn indexes() -> Vec<IndexCreateStatement> {
    let slot_place = ["namespace", "application", "service", "ordinal", "id"];
    vec![
        index(
            "application_key",
            "application",
            &["namespace", "name", "owner"],
        )
        .unique()
        .to_owned(),
        index("slot_place", "slot", &slot_place),
        index("slot_app", "slot", &["app_uid"]),
        index(
            "assignment_order",
            "assignment",
            &["child", "order_revision"],
        ),
        index("assignment_app", "assignment", &["app_uid"]),
        index("assignment_slot", "assignment", &["slot"]),
        index("child_name", "child", &["name"]).unique().to_owned(),
        index("tombstone_at", "tombstone", &["at"]),
        index("event_at", "event", &["at"]),
        index("request_at", "request", &["at"]),
    ]
}
