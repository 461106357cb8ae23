//! What a bridge is configured with.

use std::time::Duration;

/// Configuration of a bridge.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster's gRPC endpoint.
    pub cluster: String,
    /// The broker.
    pub nats: String,
    /// How often a worker's newest samples go to the cluster.
    pub telemetry_interval: Duration,
}
