//! `edgeio dev`: root, cluster, bridge, workers and a broker on this machine, in one process but for the broker.
//!
//! The parts are the production ones, each with the configuration that its own binary would have; they meet by gRPC and NATS on loopback as they
//! do everywhere. State stays in the data directory: the next start goes on with the same applications. Deliberately absent: any
//! short cut between the parts, and addresses that other machines reach.

mod assembly;
mod part;
mod welcome;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use edgeio_server::{
    config::Flat,
    shutdown::{Shutdown, Signals},
    telemetry::{self, LogFilter, TelemetryConfig},
};

use super::Context;
use crate::error::CliError;
use assembly::Assembly;

const AFTER_HELP: &str = "\
It needs nats-server (`make tools` in a clone gets it). Native jobs are allowed; containers run where a Docker Engine answers. \
The API is open to this machine only.

Ctrl-C stops everything and removes the jobs; what was applied stays in the data directory and runs again at the next start. \
A second Ctrl-C ends at once and leaves the jobs running; the next start takes them over.

Examples:
  edgeio dev
  edgeio dev --workers 3 --data-dir /tmp/edge
  edgeio dev --keep-jobs                     the jobs go on when it stops, and are taken over at the next start
  edgeio dev --root-listen 127.0.0.1:0       any free port; it is printed";

/// Run everything on this machine, for trying out and developing.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Where databases, identities, ledgers and the output of jobs are kept [default: ~/.edgeio/dev]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the root listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:10000", value_parser = loopback)]
    pub root_listen: SocketAddr,
    /// Where the cluster listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:10100", value_parser = loopback)]
    pub cluster_listen: SocketAddr,
    /// Where the broker listens; port 0 is any free one
    #[arg(long, value_name = "IP:PORT", default_value_t = ANY_PORT, value_parser = loopback)]
    pub nats_listen: SocketAddr,
    /// How many workers
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub workers: u16,
    /// Leave the jobs running at the end
    #[arg(long)]
    pub keep_jobs: bool,
    /// What is logged to standard error, such as `info` or `warn,edgeio_worker=debug`
    #[arg(long, value_name = "FILTER", default_value = QUIET)]
    pub log: LogFilter,
}

/// The bridge says at each start that it has not reached the broker yet; a broker that ends is told of by what starts another.
const QUIET: &str = "warn,edgeio_bridge::relay::uplink=error";

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Without credentials whoever reaches the API may do everything: nobody else may reach it.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "write IP:PORT, such as 127.0.0.1:10000".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("only a loopback address, such as 127.0.0.1; other machines are for edgeio-root and edgeio-cluster".to_owned())
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let data = data_dir(&args)?;
    edgeio_server::tls::install_provider();
    let logging = TelemetryConfig {
        log: args.log.clone(),
        ..TelemetryConfig::default()
    };
    telemetry::init(&Flat(logging))
        .map_err(|error| CliError::Failed(format!("start logging: {error}")))?;
    let (trigger, stop) = Shutdown::new();
    let signals = Signals::install()
        .map_err(|error| CliError::Failed(format!("take over the signals: {error}")))?;
    let signals = tokio::spawn(signals.drive(trigger));

    let mut assembly = Assembly::start(&args, &data).await?;
    let outcome = tokio::select! {
        outcome = welcome_and_serve(&mut assembly, &args, &data, context) => outcome,
        () = stop.wait() => Ok(()),
    };
    let jobs = if args.keep_jobs {
        "the jobs run on"
    } else {
        "the jobs are removed"
    };
    context.out.note(&format!("stopping; {jobs}"));
    assembly.stop().await;
    signals.abort();
    outcome
}

/// Says what runs once it does; ends only when a part ends that should not.
async fn welcome_and_serve(
    assembly: &mut Assembly,
    args: &Args,
    data: &std::path::Path,
    context: &Context,
) -> Result<(), CliError> {
    let addresses = assembly.addresses().clone();
    tokio::select! {
        ready = welcome::when_ready(&addresses, args.workers) => {
            context.out.result(&welcome::text(&addresses, &ready?, data))?;
        }
        failure = assembly.ended() => return Err(failure),
    }
    Err(assembly.ended().await)
}

fn data_dir(args: &Args) -> Result<PathBuf, CliError> {
    let data = match &args.data_dir {
        Some(dir) => std::path::absolute(dir)
            .map_err(|error| CliError::Usage(format!("`--data-dir {}`: {error}", dir.display())))?,
        None => std::env::home_dir()
            .filter(|home| home.is_absolute())
            .map(|home| home.join(".edgeio/dev"))
            .ok_or_else(|| {
                CliError::Usage("there is no home directory: say --data-dir DIR".to_owned())
            })?,
    };
    make_private(&data).map_err(|error| {
        CliError::Usage(format!(
            "make {}: {error}\nsay --data-dir with a directory that you may write",
            data.display()
        ))
    })?;
    Ok(data)
}

/// Keys lie in it: only its owner may look.
fn make_private(dir: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}
