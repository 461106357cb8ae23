//! One file a table: its columns, and how a record becomes a row and a row a record.
#![expect(
    unreachable_pub,
    reason = "sea-orm's derives ask for public models and make public types beside them"
)]

pub(super) mod account;
pub(super) mod application;
pub(super) mod assignment;
pub(super) mod audit;
pub(super) mod bridge;
pub(super) mod change_log;
pub(super) mod child;
pub(super) mod event;
pub(super) mod join_token;
pub(super) mod lease;
pub(super) mod meta;
pub(super) mod namespace;
pub(super) mod request;
pub(super) mod service;
pub(super) mod slot;
pub(super) mod spec;
pub(super) mod tombstone;
pub(super) mod user_token;
