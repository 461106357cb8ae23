//! The chassis that every binary shares: config, telemetry, health, reflection, shutdown, status map.
//!
//! Here is nothing that knows what an application, a cluster or a worker is.

pub mod auth;
pub mod config;
pub mod shutdown;
pub mod status;
pub mod telemetry;
