//! `edgeio fence`: silent workers and clusters of which an operator knows that they are off or cut off.

use edgeio_proto::{cluster::v1 as cluster, root::v1 as root};

use super::{Context, child::Child};
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
    let (asked, child) = match &args.what {
        What::Worker(asked) => (asked, Child::Worker(&asked.name)),
        What::Cluster(asked) => (asked, Child::Cluster(&asked.name)),
    };
    if !asked.yes {
        let question = format!(
            "Declare {child} lost? What it runs is replaced now, exclusive services too, and is stopped should it return."
        );
        if !context.out.confirm(&question)? {
            return Err(CliError::Failed("not fenced".to_owned()));
        }
    }
    let request_id = request_id();
    let number = child
        .call(
            &remote,
            "fence",
            |mut client| {
                let request = cluster::FenceRequest {
                    worker: asked.name.clone(),
                    request_id: request_id.clone(),
                };
                async move { Ok(client.fence(request).await?.map(|answer| answer.given_up)) }
            },
            |mut client| {
                let request = root::FenceRequest {
                    cluster: asked.name.clone(),
                    request_id: request_id.clone(),
                };
                async move { Ok(client.fence(request).await?.map(|answer| answer.given_up)) }
            },
        )
        .await?;
    context.out.result(&format!(
        "{child}: fenced; {} to replace, each is stopped there should it return",
        count(number as usize, "instance")
    ))
}
