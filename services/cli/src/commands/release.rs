//! `edgeio release`: what a silent worker or cluster runs is replaced, though nothing proves that the fault is not on this side.

use edgeio_proto::{cluster::v1 as cluster, root::v1 as root};

use super::{Context, child::Child};
use crate::{error::CliError, remote::request_id};

const WORKER_HELP: &str = "\
By itself nothing is replaced while no other worker is heard: the fault may be on this side. If you know better, say so. What the
worker runs may go on there until it returns; then one of the two is stopped. Exclusive services wait until theirs has stopped itself.

Examples:
  edgeio release worker a1 --server 127.0.0.1:10100    a worker is known at its cluster";

const CLUSTER_HELP: &str = "\
By itself nothing is replaced while no other cluster is heard: the fault may be on this side. If you know better, say so. What the
cluster runs may go on there until it returns; then one of the two is stopped. Exclusive services are not replaced: see `fence`.

Examples:
  edgeio release cluster site-7";

/// Have what a silent worker or cluster runs replaced, without waiting for evidence.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to release.
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
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let (asked, child) = match &args.what {
        What::Worker(asked) => (asked, Child::Worker(&asked.name)),
        What::Cluster(asked) => (asked, Child::Cluster(&asked.name)),
    };
    let request_id = request_id();
    child
        .call(
            &remote,
            "release",
            |mut client| {
                let request = cluster::ReleaseRequest {
                    worker: asked.name.clone(),
                    request_id: request_id.clone(),
                };
                async move { Ok(client.release(request).await?.map(drop)) }
            },
            |mut client| {
                let request = root::ReleaseRequest {
                    cluster: asked.name.clone(),
                    request_id: request_id.clone(),
                };
                async move { Ok(client.release(request).await?.map(drop)) }
            },
        )
        .await?;
    context.out.result(&format!(
        "{child}: released; what it runs is replaced, and one of each two stays when it returns"
    ))
}
