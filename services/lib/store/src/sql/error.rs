//! What a database says, in the words of [`StoreError`].

use sea_orm::{DbErr, RuntimeErr, SqlErr};

use crate::api::StoreError;

/// SQLite's primary result codes that mean something to us: <https://sqlite.org/rescode.html>.
mod sqlite_code {
    /// The disk, or the size that the database may have, is used up.
    pub(crate) const FULL: i32 = 13;
    /// The file is damaged.
    pub(crate) const CORRUPT: i32 = 11;
    /// The file is something else.
    pub(crate) const NOT_A_DATABASE: i32 = 26;
}

/// Translates an error, naming what was tried.
pub(crate) fn failed(attempt: &'static str) -> impl Fn(DbErr) -> StoreError {
    move |error| translate(attempt, error)
}

fn translate(attempt: &'static str, error: DbErr) -> StoreError {
    // Names are checked before they are written, with better words than the database's; this is what is left over.
    if let Some(SqlErr::UniqueConstraintViolation(what)) = error.sql_err() {
        return StoreError::Exists { what };
    }
    match primary_code(&error) {
        Some(sqlite_code::FULL) => StoreError::Full {
            attempt,
            source: Box::new(error),
        },
        Some(sqlite_code::CORRUPT | sqlite_code::NOT_A_DATABASE) => StoreError::Corrupt {
            table: "(any)",
            what: format!("{attempt}: {error}"),
        },
        _ => StoreError::Unavailable {
            attempt,
            source: Box::new(error),
        },
    }
}

/// SQLite's primary result code, the low byte of the extended one.
fn primary_code(error: &DbErr) -> Option<i32> {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|extended| extended & 0xff)
}
