//! The chassis that every binary shares: config, telemetry, TLS, health, reflection, shutdown, status map.
//!
//! A binary's `main` is [`launch::launch`] with the parts of this crate: [`mod@config`], [`telemetry`],
//! [`shutdown`], a bound [`grpc::Listener`] and an [`grpc::Api`]. Here is nothing that knows what
//! an application, a cluster or a worker is.

pub mod auth;
pub mod config;
pub mod files;
pub mod grpc;
pub mod launch;
pub mod pki;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod tls;
