//! NATS to gRPC and back; owns the NATS client.
//!
//! - [`subject`]: the names on the bus, which stand beside the messages.
//! - [`bus`]: the seam between the link's messages and a broker, and its NATS implementation. Workers use it too.
//! - [`relay`]: the bridge itself, one gRPC stream to the cluster and one NATS connection.
//! - [`broker`]: a nats-server as a child process, for development and tests.
//!
//! Nothing here decides: the bridge holds no state, so that several may run and any may die.

pub mod broker;
pub mod bus;
pub mod relay;

pub use edgeio_proto::subject;
pub use relay::{Config, RunError, run};
