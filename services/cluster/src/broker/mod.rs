//! Who may use the broker, and for what: the cluster is the operator of its nats-server.
//!
//! [`keys`] holds the seeds, in the data directory and never in the database; [`claims`] says what a worker, a bridge or an
//! account may do; [`token`] signs that; [`passes`] gives it out and takes it back; [`server`] writes the nats-server's configuration from it, and [`command`] is
//! `edgeio-cluster nats-config`. The cluster itself never speaks to the broker: a credential is checked there by its signature alone.

pub mod claims;
pub mod command;
pub mod keys;
pub mod passes;
pub mod server;
pub mod token;

pub use claims::{Minter, Revocations};
pub use keys::{Keys, KeysError};
pub use passes::{Passes, PassesError};
pub use token::MintError;
