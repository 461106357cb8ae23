//! `edgeio forget`: workers and clusters that will not come back.

use edgeio_proto::{
    cluster::v1::{self as cluster, worker_service_client::WorkerServiceClient},
    root::v1::{self as root, cluster_service_client::ClusterServiceClient},
};

use super::Context;
use crate::{error::CliError, output::text::count, remote::request_id};

const WORKER_HELP: &str = "\
What the worker ran is placed elsewhere. If it does come back, what it still runs is stopped.

Examples:
  edgeio forget worker a1 --server 127.0.0.1:10100     a worker is known at its cluster
  edgeio forget worker a1 --force                      although it reports";

const CLUSTER_HELP: &str = "\
What the cluster ran is placed elsewhere. If it does come back, what it still runs is stopped.

Examples:
  edgeio forget cluster site-7
  edgeio forget cluster site-7 --force                 although it reports";

/// Remove a worker or cluster that will not come back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to forget.
    #[command(subcommand)]
    pub what: What,
}

/// What can be forgotten.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// A worker, at its cluster
    #[command(after_help = WORKER_HELP)]
    Worker(ChildArgs),
    /// A cluster, at the root
    #[command(after_help = CLUSTER_HELP)]
    Cluster(ChildArgs),
}

/// Which child.
#[derive(Debug, clap::Args)]
pub struct ChildArgs {
    /// Its name or id
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Forget it although it reports
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let (kind, child) = match &args.what {
        What::Worker(child) => ("worker", child),
        What::Cluster(child) => ("cluster", child),
    };
    let name = &child.name;
    if !child.yes {
        let question = format!("Forget {kind} {name} and place what it ran elsewhere?");
        if !context.out.confirm(&question)? {
            return Err(CliError::Failed("not forgotten".to_owned()));
        }
    }
    let attempt = format!("forget {kind} `{name}`");
    let request_id = request_id();
    let replaced = match &args.what {
        What::Worker(_) => {
            let answer = remote.try_call(|channel| {
                let request = cluster::ForgetRequest {
                    worker: name.clone(),
                    force: child.force,
                    request_id: request_id.clone(),
                };
                async move { WorkerServiceClient::new(channel).forget(request).await }
            });
            match answer.await {
                Ok(answer) => answer.replaced,
                Err(status) => {
                    let command = format!("forget worker {name}");
                    return Err(remote.no_workers_here(&attempt, &command, &status).await);
                }
            }
        }
        What::Cluster(_) => {
            let answer = remote.try_call(|channel| {
                let request = root::ForgetRequest {
                    cluster: name.clone(),
                    force: child.force,
                    request_id: request_id.clone(),
                };
                async move { ClusterServiceClient::new(channel).forget(request).await }
            });
            answer
                .await
                .map_err(|status| remote.wrong_tier(&attempt, &status))?
                .replaced
        }
    };
    context.out.result(&format!(
        "{kind} {name}: forgotten; {} to place elsewhere",
        count(replaced as usize, "instance")
    ))
}
