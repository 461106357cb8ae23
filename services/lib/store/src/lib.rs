//! Where a tier keeps its records: the only crate that imports sea-orm.
//!
//! What is durable and why: everything in [`edgeio_domain::records`] and [`edgeio_domain::child`], the specs' bytes, the
//! tombstones, the answers to requests and a log of changes. An API call is acknowledged after the commit that holds it;
//! what a child reported is acknowledged to it after the commit that recorded it. Telemetry is not state and is not here.
//!
//! One write transaction is a [`WriteTx`]: it reads the committed state, stages writes and commits them together under one
//! new revision, taken last. Write transactions of one database exclude each other.

pub mod api;
mod batch;
pub mod memory;

pub use api::{
    ApplicationFilter, AssignmentFilter, Change, ChangeKind, Meta, ReadTx, RequestRecord, Revision,
    SlotFilter, SlotPlace, Store, StoreError, Uplink, Write, WriteTx,
};
pub use memory::MemoryStore;
