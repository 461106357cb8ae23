//! `edgeio fence`: silent workers and clusters of which an operator knows that they are off or cut off.

use edgeio_proto::{
    cluster::v1::{self as cluster, worker_service_client::WorkerServiceClient},
    root::v1::{self as root, cluster_service_client::ClusterServiceClient},
};

use super::Context;
use crate::{error::CliError, output::text::count, remote::request_id};

const WORKER_HELP: &str = "\
What the worker runs is replaced, exclusive services too, and stopped should the worker return. Fence it only when you know that it
is off or cut off: nothing else keeps two of an exclusive service from running. It stays known; `forget` removes it.

Examples:
  edgeio fence worker a1 --server 127.0.0.1:10100      a worker is known at its cluster
  edgeio fence worker a1 --yes                         without asking";

const CLUSTER_HELP: &str = "\
What the cluster runs is replaced, exclusive services too, and stopped should the cluster return. Fence it only when you know that it
is off: nothing else keeps two of an exclusive service from running. It stays known; `forget` removes it.

Examples:
  edgeio fence cluster site-7
  edgeio fence cluster site-7 --yes                    without asking";

/// Declare a silent worker or cluster lost: what it runs is replaced, exclusive services too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to fence.
    #[command(subcommand)]
    pub what: What,
}

/// What can be meant.
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
        let question = format!(
            "Declare {kind} {name} lost? What it runs is replaced now, exclusive services too, and is stopped should it return."
        );
        if !context.out.confirm(&question)? {
            return Err(CliError::Failed("not fenced".to_owned()));
        }
    }
    let attempt = format!("fence {kind} `{name}`");
    let request_id = request_id();
    let given_up = match &args.what {
        What::Worker(_) => {
            let answer = remote.try_call(|channel| {
                let request = cluster::FenceRequest {
                    worker: name.clone(),
                    request_id: request_id.clone(),
                };
                async move { WorkerServiceClient::new(channel).fence(request).await }
            });
            match answer.await {
                Ok(answer) => answer.given_up,
                Err(status) => {
                    let command = format!("fence worker {name}");
                    return Err(remote.no_workers_here(&attempt, &command, &status).await);
                }
            }
        }
        What::Cluster(_) => {
            let answer = remote.try_call(|channel| {
                let request = root::FenceRequest {
                    cluster: name.clone(),
                    request_id: request_id.clone(),
                };
                async move { ClusterServiceClient::new(channel).fence(request).await }
            });
            answer
                .await
                .map_err(|status| remote.wrong_tier(&attempt, &status))?
                .given_up
        }
    };
    context.out.result(&format!(
        "{kind} {name}: fenced; {} to replace, each is stopped there should it return",
        count(given_up as usize, "instance")
    ))
}
