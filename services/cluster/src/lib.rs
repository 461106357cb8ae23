//! The cluster orchestrator: a tier whose children are workers, and a child of the root.

pub mod api;
pub mod uplink;
