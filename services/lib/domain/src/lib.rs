//! The meaning of edgeIO without any I/O: ids, resources, specs, records, the lifecycle table and the planners.
//!
//! Invariants: no clock, no random source, no async runtime, no SQL and no wire format in this crate. Time and ids come
//! in as arguments. What the tiers and the worker decide is decided here; what they do about it is done elsewhere.

pub mod backoff;
pub mod child;
pub mod digest;
pub mod ids;
pub mod image;
pub mod lifecycle;
pub mod liveness;
pub mod name;
pub mod node;
pub mod plan;
pub mod plant;
pub mod quantity;
pub mod records;
pub mod resources;
pub mod spec;
pub mod time;
pub mod violation;
