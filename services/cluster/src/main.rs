//! `edgeio-cluster`: the orchestrator of one site.

use std::process::ExitCode;

use edgeio_cluster::{Config, run};
use edgeio_server::{config::Program, launch::launch};

fn main() -> ExitCode {
    let program = Program {
        name: "edgeio-cluster",
        version: env!("CARGO_PKG_VERSION"),
        about: "The orchestrator of one site: takes workers and bridges in, and reports to the root.",
    };
    launch(&program, |config: &Config| &config.telemetry, run)
}
