//! `edgeio-root`: the root orchestrator. `edgeio-root ca` looks after its certificate authority.

use std::process::ExitCode;

use edgeio_root::{Config, run};
use edgeio_server::{
    config::Program,
    launch::launch,
    pki::command::{Place, dispatch},
};

fn main() -> ExitCode {
    let program = Program {
        name: "edgeio-root",
        version: env!("CARGO_PKG_VERSION"),
        about: "The root orchestrator of edgeIO: serves the API to people and takes clusters in.",
    };
    let place = |config: &Config| Place {
        data_dir: config.tier.data_dir.clone(),
        subject: "root".to_owned(),
        lives: config.serve.lives(),
    };
    if let Some(code) = dispatch(&program, std::env::args_os(), place) {
        return code;
    }
    launch(&program, |config: &Config| &config.telemetry, run)
}
