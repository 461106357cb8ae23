//! `edgeio-cluster`: the orchestrator of one site. `edgeio-cluster ca` looks after its certificate authority.

use std::process::ExitCode;

use edgeio_cluster::{Config, run};
use edgeio_server::{
    config::Program,
    launch::launch,
    pki::command::{Place, dispatch},
};

fn main() -> ExitCode {
    let program = Program {
        name: "edgeio-cluster",
        version: env!("CARGO_PKG_VERSION"),
        about: "The orchestrator of one site: takes workers and bridges in, and reports to the root.",
    };
    let place = |config: &Config| Place {
        data_dir: config.tier.data_dir.clone(),
        subject: "cluster".to_owned(),
        lives: config.serve.lives(),
    };
    if let Some(code) = dispatch(&program, std::env::args_os(), place) {
        return code;
    }
    launch(&program, |config: &Config| &config.telemetry, run)
}
