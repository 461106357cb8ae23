//! The root orchestrator: a tier whose children are clusters.

pub mod api;
