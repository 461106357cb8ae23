//! All that a driver is made of. Begin your own with this file, and put another runtime in the place of `ProcessRuntime`.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clap::Parser;
use edgeio_worker::runtime::{
    external::{Served, serve},
    process::{ProcessConfig, ProcessRuntime},
};
use tokio::signal::unix::{SignalKind, signal};

/// Runs native processes for a worker.
#[derive(Parser)]
#[command(name = "edgeio-sample-driver", version)]
pub(crate) struct Options {
    /// Where it listens, as the worker's `drivers` has it.
    #[arg(long)]
    socket: PathBuf,
    /// Where its jobs are remembered.
    #[arg(long)]
    dir: PathBuf,
}

/// Serves until it is asked to end; its jobs run on.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let runtime = ProcessRuntime::open(ProcessConfig::new(options.dir))?;
    let about = Served {
        name: "edgeio-sample-driver".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        keeps_leases: true,
    };
    let mut asked = signal(SignalKind::terminate()).context("listen for the request to end")?;
    let stop = async move {
        asked.recv().await;
    };
    serve(&options.socket, about, Arc::new(runtime), stop).await?;
    Ok(())
}
