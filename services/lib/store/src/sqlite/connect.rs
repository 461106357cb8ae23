//! Connections to a file, with what they were asked for read back.

use std::{path::Path, time::Duration};

use edgeio_domain::ids::Lineage;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, SqlxSqliteConnector, Statement};
use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::begin_immediate;
use crate::{
    api::{Meta, StoreError},
    sql::{self, failed},
};

/// How long SQLite waits for a lock. Nothing but a checkpoint or an operator's own tool can hold one: writers queue
/// before they come here.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers at a time. They work from memory on a machine of a few cores; each connection costs a thread and a cache.
const READERS: u32 = 4;

/// An idle reader is given up after this, with its thread and its cache.
const READER_IDLE: Duration = Duration::from_secs(60);

/// Prepared statements that a connection keeps: a write statement has five texts for each table (see `sql::row::pieces`).
const STATEMENTS: usize = 128;

/// The writer's one connection and the readers'.
pub(super) async fn open(
    path: &Path,
) -> Result<(DatabaseConnection, DatabaseConnection), StoreError> {
    let refused = |error: &dyn std::fmt::Display| StoreError::Open {
        path: path.display().to_string(),
        what: error.to_string(),
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging();
    let writer = sound_only()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.clone())
        .await
        .map_err(|error| refused(&error))?;
    let writer = SqlxSqliteConnector::from_sqlx_sqlite_pool(writer);
    verify(path, &writer).await?;

    let readers = sound_only()
        .max_connections(READERS)
        .idle_timeout(READER_IDLE)
        .max_lifetime(None)
        .connect_with(options.pragma("query_only", "ON"))
        .await
        .map_err(|error| refused(&error))?;
    let readers = SqlxSqliteConnector::from_sqlx_sqlite_pool(readers);
    verify(path, &readers).await?;
    Ok((writer, readers))
}

/// A pool that gives up connections that still count a transaction as open. SQLite ends a transaction by itself when its disk
/// is full or fails; the rollback that follows is refused then, since there is nothing to roll back, and the connection would
/// count one transaction too many for ever. What was begun next would be a savepoint, and what was rolled back would stay
/// open: later commits would be acknowledged within it and be on no disk.
fn sound_only() -> SqlitePoolOptions {
    SqlitePoolOptions::new().before_acquire(|connection, _| {
        // A rollback that was queued is over: the pool has asked the connection for a word since.
        let sound = !connection.is_in_transaction();
        Box::pin(async move { Ok(sound) })
    })
}

/// Reads the settings back: SQLite keeps silent about those that it does not follow.
async fn verify(path: &Path, connection: &DatabaseConnection) -> Result<(), StoreError> {
    let busy_timeout = BUSY_TIMEOUT.as_millis().to_string();
    let asked = [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
        ("busy_timeout", &busy_timeout),
    ];
    for (pragma, wanted) in asked {
        let got = read_pragma(connection, pragma).await;
        let got = got.map_err(failed("read settings back"))?;
        if got != wanted {
            return Err(StoreError::Open {
                path: path.display().to_string(),
                what: format!(
                    "SQLite's {pragma} is {got} instead of {wanted}: put the database on a local disk"
                ),
            });
        }
    }
    Ok(())
}

async fn read_pragma(connection: &DatabaseConnection, pragma: &str) -> Result<String, DbErr> {
    let question = Statement::from_string(
        connection.get_database_backend(),
        format!("PRAGMA {pragma}"),
    );
    let Some(row) = connection.query_one_raw(question).await? else {
        return Ok("nothing".to_owned());
    };
    match row.try_get_by_index::<String>(0) {
        Ok(text) => Ok(text),
        Err(_) => Ok(row.try_get_by_index::<i64>(0)?.to_string()),
    }
}

/// Brings the schema forward, in one transaction: it is there whole or not at all.
pub(super) async fn migrate(
    path: &Path,
    writer: &DatabaseConnection,
    lineage: Lineage,
) -> Result<Meta, StoreError> {
    let tx = begin_immediate(writer).await?;
    let facts = match sql::migrate(&tx, lineage).await {
        Ok(facts) => facts,
        Err(sql::MigrateError::Sql(error)) => {
            return Err(failed("bring the schema to this version")(error));
        }
        Err(sql::MigrateError::Newer(change)) => {
            return Err(StoreError::Open {
                path: path.display().to_string(),
                what: format!(
                    "it was made by a newer version of edgeIO (it has the schema change {change}): \
                     start that version, or restore a backup that this one made"
                ),
            });
        }
    };
    tx.commit().await.map_err(failed("commit the schema"))?;
    Ok(facts)
}
