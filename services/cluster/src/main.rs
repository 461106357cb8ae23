//! `edgeio-cluster`: the orchestrator of one site. `edgeio-cluster ca` looks after its certificate authority, and
//! `edgeio-cluster nats-config` writes its broker's configuration.

use std::{env::args_os, process::ExitCode};

use edgeio_cluster::{Config, broker::command, run};
use edgeio_server::{
    config::Program,
    launch::launch,
    pki::command::{Place, dispatch},
};

fn main() -> ExitCode {
    let program = Program {
        name: "edgeio-cluster",
        version: env!("CARGO_PKG_VERSION"),
        about: "The orchestrator of one site: takes workers and bridges in, and reports to the root. \
                To configure its broker: edgeio-cluster nats-config.",
    };
    let place = |config: &Config| Place {
        data_dir: config.tier.data_dir.clone(),
        subject: "cluster".to_owned(),
        lives: config.serve.lives(),
    };
    let other = dispatch(&program, args_os(), place).or_else(|| command::dispatch(args_os()));
    if let Some(code) = other {
        return code;
    }
    launch(&program, |config: &Config| &config.telemetry, run)
}
