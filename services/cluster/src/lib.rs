//! The cluster orchestrator: a tier whose children are workers, and a child of the root.

pub mod api;
pub mod bridges;
pub mod broker;
pub mod config;
pub mod identity;
mod run;
pub mod uplink;
pub mod workers;

pub use config::Config;
pub use run::{Cluster, ClusterError, run};
