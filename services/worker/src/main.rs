//! `edgeio-worker`: runs the jobs of a cluster on this machine. `edgeio-worker leave` says goodbye.

use std::{env::args_os, ffi::OsString, process::ExitCode};

use edgeio_server::config::Program;
use edgeio_server::launch::{Threads, launch_with};
use edgeio_worker::{Config, LeaveConfig, leave, run, shim};

const WORKER: Program = Program {
    name: "edgeio-worker",
    version: env!("CARGO_PKG_VERSION"),
    about: "Runs the jobs of a cluster on this machine. To leave the cluster: edgeio-worker leave.",
};

const LEAVE: Program = Program {
    name: "edgeio-worker leave",
    version: env!("CARGO_PKG_VERSION"),
    about: "Makes the worker of a data directory leave its cluster: its jobs are stopped and placed elsewhere.",
};

fn main() -> ExitCode {
    if let Some(code) = shim::dispatch(args_os()) {
        return code;
    }
    if args_os().nth(1).is_some_and(|word| word == "leave") {
        let argv: Vec<OsString> = args_os().take(1).chain(args_os().skip(2)).collect();
        return launch_with(&LEAVE, argv, Threads::One, LeaveConfig::logging, |c, _| {
            leave(c)
        });
    }
    launch_with(
        &WORKER,
        args_os(),
        Threads::One,
        Config::logging,
        |config, stop| run(config, async move { stop.wait().await }),
    )
}
