//! `edgeio-bridge`: carries messages between a cluster's gRPC stream and its workers' NATS subjects.

use std::process::ExitCode;

use edgeio_bridge::{Config, run};
use edgeio_server::config::Program;
use edgeio_server::launch::launch;

const PROGRAM: Program = Program {
    name: "edgeio-bridge",
    version: env!("CARGO_PKG_VERSION"),
    about: "Carries messages between a cluster and its workers. Any number may run side by side.",
};

fn main() -> ExitCode {
    launch(
        &PROGRAM,
        |config: &Config| &config.telemetry,
        |config, stop| run(config, async move { stop.wait().await }),
    )
}
