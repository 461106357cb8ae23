//! Records as rows, in SQL that SQLite and PostgreSQL both understand.
//!
//! Scalars have columns of their own; a list inside a record, which is only ever read whole with it, is one text column of
//! JSON. Statements are built with sea-orm and never contain a function that only one database has. A commit writes each
//! table in a few statements of many rows: a statement costs a hop to the database, a row in it does not.
//!
//! Numbers: SQL's integers are signed, so an unsigned 64-bit number is kept by its bits and comes back whole. Where
//! numbers are compared (revisions) they are the store's own counter and far from that bit.
//!
//! Deliberately absent: how a connection is opened and who may write, which is each database's own.

mod access;
mod commit;
mod entity;
mod error;
mod joins;
mod migration;
mod nested;
mod read;
mod row;
mod tx;
mod word;

pub(crate) use error::failed;
pub(crate) use migration::{MigrateError, migrate};
pub(crate) use tx::{Hub, Turn, Tx};
