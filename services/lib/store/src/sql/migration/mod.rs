//! The way of the schema, forward only. A migration that was released is never edited.

mod m0001_records;
mod m0002_convergence;
mod m0003_lease;
mod m0004_tombstone_child;
mod m0005_child_features;
mod m0006_access;
mod m0007_join;
mod m0008_child_key;

use edgeio_domain::ids::Lineage;
use sea_orm::{ActiveModelTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

use super::entity::meta;
use crate::api::Meta;

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_records::Migration),
            Box::new(m0002_convergence::Migration),
            Box::new(m0003_lease::Migration),
            Box::new(m0004_tombstone_child::Migration),
            Box::new(m0005_child_features::Migration),
            Box::new(m0006_access::Migration),
            Box::new(m0007_join::Migration),
            Box::new(m0008_child_key::Migration),
        ]
    }
}

/// Why a database cannot be brought to this version's schema.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// It has a schema change that this version does not know.
    #[error("schema change {0} is not known")]
    Newer(String),
    /// The database refused a statement.
    #[error(transparent)]
    Sql(#[from] DbErr),
}

/// Brings the schema forward inside a transaction, makes the row of facts if the database is new, and answers the facts.
/// `lineage` is taken only by a new database.
pub(crate) async fn migrate(
    tx: &DatabaseTransaction,
    lineage: Lineage,
) -> Result<Meta, MigrateError> {
    let known: Vec<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    let applied = Migrator::get_migration_models(tx).await?;
    if let Some(newer) = applied
        .into_iter()
        .find(|row| !known.contains(&row.version))
    {
        return Err(MigrateError::Newer(newer.version));
    }
    Migrator::up(tx, None).await?;
    if let Some(row) = meta::Entity::find_by_id(meta::ONLY).one(tx).await? {
        return Ok(row.record());
    }
    let facts = Meta {
        lineage,
        ..Meta::default()
    };
    let row = meta::Model::new(&facts, 0).into_active_model();
    row.insert(tx).await?;
    Ok(facts)
}
