//! The gRPC services that only a cluster serves to people and to workers before they are on the bus.

mod worker;

pub use worker::{Joining, Samples, WorkerApi, worker_service};
