//! The orchestration engine of a tier: desired state, the loops that plan and place, the sessions of children, and the API
//! services that root and cluster share.
//!
//! Root and cluster are this crate with different children. The loops meet the world in the database: handlers write
//! wishes, the [`hub`] records what children report and sends what they shall run, the [`engine`] plans and places.

pub mod access;
pub mod api;
pub mod apps;
pub mod assembly;
pub mod children;
pub mod config;
pub mod context;
pub mod engine;
pub mod hub;
pub mod joins;
pub mod leader;
pub mod loops;
pub mod machines;
pub mod system;
