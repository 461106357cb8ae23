//! `edgeio forget`: workers and clusters that will not come back.

use edgeio_proto::{cluster::v1 as cluster, root::v1 as root};

use super::{Context, child::Child};
use crate::{error::CliError, output::text::count, remote::request_id};

const WORKER_HELP: &str = "\
What the worker ran is placed elsewhere. It is let in no more, unless this server needs no credentials: it comes back by a new join
token, and what it still runs is stopped then. Forget a machine that was stolen.

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
    let (asked, child) = match &args.what {
        What::Worker(asked) => (asked, Child::Worker(&asked.name)),
        What::Cluster(asked) => (asked, Child::Cluster(&asked.name)),
    };
    if !asked.yes {
        let question = format!("Forget {child} and place what it ran elsewhere?");
        if !context.out.confirm(&question)? {
            return Err(CliError::Failed("not forgotten".to_owned()));
        }
    }
    let request_id = request_id();
    let number = child
        .call(
            &remote,
            "forget",
            |mut client| {
                let request = cluster::ForgetRequest {
                    worker: asked.name.clone(),
                    force: asked.force,
                    request_id: request_id.clone(),
                };
                async move { Ok(client.forget(request).await?.map(|answer| answer.replaced)) }
            },
            |mut client| {
                let request = root::ForgetRequest {
                    cluster: asked.name.clone(),
                    force: asked.force,
                    request_id: request_id.clone(),
                };
                async move { Ok(client.forget(request).await?.map(|answer| answer.replaced)) }
            },
        )
        .await?;
    context.out.result(&format!(
        "{child}: forgotten; {} to place elsewhere",
        count(number as usize, "instance")
    ))
}
