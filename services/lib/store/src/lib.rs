//! Where a tier keeps its records: the only crate that imports sea-orm.
//!
//! **What is durable and why.** Everything in [`edgeio_domain::records`] and [`edgeio_domain::child`], the specs' bytes,
//! the tombstones, the answers to requests and a log of changes. An API call is acknowledged after the commit that holds
//! it; what a child reported is acknowledged to it after the commit that recorded it. What a crash may take is only what
//! nobody was told. Telemetry is not state and is not here.
//!
//! **Transactions.** A [`WriteTx`] reads the committed state, stages writes and commits them together under one new
//! revision, taken last. Write transactions of one database exclude each other, from their beginning on: what one has
//! read is true until it commits, so there is no retry and no lost update. Staging costs nothing; a commit reduces what
//! was staged to one end for each record and writes each table in a few statements of many rows. A [`ReadTx`] sees one
//! state throughout and waits for nobody.
//!
//! **Leases and fences.** Where several processes share a database, a lease says which of them may do something alone. Being
//! elected proves nothing later: a holder can be paused for minutes and go on. So each commit that is made by a lease names
//! it ([`WriteTx::fence`]), and it is compared in that commit's own transaction; [`Meta::leader_epoch`] records under which
//! number the newest one was made.
//!
//! **Revisions.** One counter for the whole database. Each record carries the revision of its last change, an assignment
//! also that of its last order, which is what a link sends by. The log of changes names what a commit touched or removed;
//! what it looks like now is read from its own table, so a reader who is late reads less, not more. [`Store::watch`]
//! carries the counter to the loops: a hint to look, never what to do.
//!
//! **Two stores, one meaning.** [`MemoryStore`] is the model: plain code over ordered maps, run by the simulator and by
//! the tests of the tiers. [`SqliteStore`] is the file. One suite runs over both (`tests/suite`), and random sequences of
//! commits must read the same. The tables and statements are in SQL that PostgreSQL understands too.
//!
//! **Who may do what.** Users, the hashes of their tokens, namespaces and the audit ([`mod@access`], [`mod@audit`]). The audit is
//! written in the transaction of the change ([`WriteTx::audit`]), so there is no change without its entry.
//!
//! **Who may join.** Join tokens by the hashes of their secrets, and bridges ([`mod@joins`]). A use of a token is taken in the commit
//! that records who joined, or not at all.
//!
//! **Retention.** Nothing goes by itself: a tier commits [`Write::Compact`] with its own idea of what is old. The audit is never
//! compacted.
//!
//! Deliberately absent: what records mean, which is `edgeio-domain`'s, and any clock of its own: whoever opens a store
//! hands one in.

pub mod access;
pub mod api;
pub mod audit;
mod batch;
pub mod joins;
pub mod memory;
mod open;
mod sql;
pub mod sqlite;

pub use access::{DEFAULT_NAMESPACE, Grant, Namespace, Quota, User, UserToken};
pub use api::{
    ApplicationFilter, AssignmentFilter, Change, ChangeKind, Fence, Lease, Meta, ReadTx,
    RequestRecord, Revision, SlotFilter, SlotPlace, Store, StoreError, Uplink, Write, WriteTx,
};
pub use audit::{AuditEntry, AuditFilter, AuditHead, AuditRecord, Decision};
pub use joins::{Bridge, JoinKind, JoinToken};
pub use memory::MemoryStore;
pub use open::open;
pub use sqlite::SqliteStore;
