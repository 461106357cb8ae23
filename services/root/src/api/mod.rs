//! The gRPC services that only the root serves to people.

mod cluster;

pub use cluster::{ClusterApi, cluster_service};
