//! The root orchestrator: a tier whose children are clusters.

pub mod api;
pub mod config;
pub mod link;
mod run;

pub use config::Config;
pub use run::{Root, run};
