//! `edgeio-root`: the root orchestrator.

use std::process::ExitCode;

use edgeio_root::{Config, run};
use edgeio_server::{config::Program, launch::launch};

fn main() -> ExitCode {
    let program = Program {
        name: "edgeio-root",
        version: env!("CARGO_PKG_VERSION"),
        about: "The root orchestrator of edgeIO: serves the API to people and takes clusters in.",
    };
    launch(&program, |config: &Config| &config.telemetry, run)
}
