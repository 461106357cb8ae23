//! `edgeio approve`: a worker that was set up anew gets the name that it had.

use edgeio_proto::cluster::v1::{ApproveRequest, worker_service_client::WorkerServiceClient};

use super::Context;
use crate::{error::CliError, output::text::count, remote::request_id};

const HELP: &str = "\
A machine that was set up anew has a new key, so its cluster takes it for another one and gives it a number: `a1-2` asks for the name
`a1`. If it is the same machine, say so. The worker that had the name is forgotten: what it ran is placed elsewhere. `edgeio get
workers` shows who asks for a name.

Examples:
  edgeio approve worker a1-2 --server 127.0.0.1:10100
  edgeio approve worker a1-2 --force                   even though the one that has the name reports";

/// Give a worker that was set up anew the name that it had.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to approve.
    #[command(subcommand)]
    pub what: What,
}

/// What can be meant.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// A worker, at its cluster
    #[command(after_help = HELP)]
    Worker(WorkerArgs),
}

/// Which worker.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Its name now, or its id
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Even though the one that has the name reports
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let What::Worker(asked) = args.what;
    let remote = context.connect().await?;
    let name = &asked.name;
    if !asked.yes {
        let question = format!(
            "Give worker {name} the name that it asked for? The worker that has it now is forgotten, and what it ran is placed elsewhere."
        );
        if !context.out.confirm(&question)? {
            return Err(CliError::Failed("not approved".to_owned()));
        }
    }
    let id = request_id();
    let answer = remote.try_call(|channel| {
        let request = ApproveRequest {
            worker: name.clone(),
            force: asked.force,
            request_id: id.clone(),
        };
        async move { WorkerServiceClient::new(channel).approve(request).await }
    });
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(status) => {
            let (attempt, command) = (
                format!("approve worker `{name}`"),
                format!("approve worker {name}"),
            );
            return Err(remote.no_workers_here(&attempt, &command, &status).await);
        }
    };
    let now = answer.worker.map_or_else(String::new, |worker| worker.name);
    context.out.result(&format!(
        "worker {name}: is {now} now; the one before it is forgotten, {} placed elsewhere",
        count(answer.replaced as usize, "instance")
    ))
}
