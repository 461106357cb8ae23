//! `edgeio describe`: one application, instance, worker or cluster in full, with the reasons for where it stands.

mod child;
mod show;

use edgeio_proto::api::v1::{Application, Instance};
use serde_json::json;

use super::Context;
use crate::{
    args::{Format, FormatArgs, NamespaceArgs},
    error::CliError,
    observe,
    output::json,
    remote::Remote,
};

const APP_HELP: &str = "\
Examples:
  edgeio describe app hello
  edgeio describe app hello -n shop -o json";

const INSTANCE_HELP: &str = "\
Examples:
  edgeio describe instance hello/web/0            application, service and replica
  edgeio describe instance 0199f3a1-7c             an id or its beginning, as `edgeio get instances` shows it";

const WORKER_HELP: &str = "\
Examples:
  edgeio describe worker a1 --server HOST:10100    a cluster knows its workers";

const CLUSTER_HELP: &str = "\
Examples:
  edgeio describe cluster north
  edgeio describe cluster north -o json";

/// Show one application, instance, worker or cluster in full, with reasons.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show.
    #[command(subcommand)]
    pub what: What,
}

/// What can be shown.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// One application and its instances
    #[command(after_help = APP_HELP, alias = "application")]
    App(AppArgs),
    /// One instance: phase, reason, exit code, restarts, last output; and why it has no place
    #[command(after_help = INSTANCE_HELP)]
    Instance(InstanceArgs),
    /// One worker, at its cluster: the machine, its runtimes, what is free, whether it is heard, and what runs there
    #[command(after_help = WORKER_HELP)]
    Worker(ChildArgs),
    /// One cluster, at the root: what is free on which kinds of workers, whether it is heard, and what runs there
    #[command(after_help = CLUSTER_HELP)]
    Cluster(ChildArgs),
}

/// Which worker or cluster.
#[derive(Debug, clap::Args)]
pub struct ChildArgs {
    /// Its name or id
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Which application.
#[derive(Debug, clap::Args)]
pub struct AppArgs {
    /// The application
    #[arg(value_name = "APP")]
    pub application: String,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Which instance.
#[derive(Debug, clap::Args)]
pub struct InstanceArgs {
    /// APP/SERVICE/REPLICA, or an instance's id or the beginning of it
    #[arg(value_name = "INSTANCE")]
    pub instance: String,
    /// The namespace, for APP/SERVICE/REPLICA; ids are looked for in all
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    #[command(flatten)]
    pub format: FormatArgs,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let text = match args.what {
        What::App(args) => {
            let namespace = &args.namespace.namespace;
            let application = remote.application(namespace, &args.application).await?;
            let instances = remote.instances(namespace, &args.application).await?;
            match args.format.output {
                Format::Json => application_json(&application, &instances)?,
                Format::Table => show::application(&application, &instances),
            }
        }
        What::Instance(args) => {
            let instance = find(&remote, &args).await?;
            match args.format.output {
                Format::Json => json::pretty(&json::value("edgeio.api.v1.Instance", &instance)?),
                Format::Table => show::instance(&instance),
            }
        }
        What::Worker(args) => {
            let (worker, instances) = child::worker(&remote, &args.name).await?;
            match args.format.output {
                Format::Json => {
                    let worker = json::value("edgeio.cluster.v1.Worker", &worker)?;
                    json::pretty(&json!({"worker": worker, "instances": all_json(&instances)?}))
                }
                Format::Table => child::show_worker(&worker, &instances),
            }
        }
        What::Cluster(args) => {
            let (cluster, instances) = child::cluster(&remote, &args.name).await?;
            match args.format.output {
                Format::Json => {
                    let cluster = json::value("edgeio.root.v1.Cluster", &cluster)?;
                    json::pretty(&json!({"cluster": cluster, "instances": all_json(&instances)?}))
                }
                Format::Table => child::show_cluster(&cluster, &instances),
            }
        }
    };
    context.out.result(&text)
}

async fn find(remote: &Remote, args: &InstanceArgs) -> Result<Instance, CliError> {
    let wanted = args.instance.as_str();
    let found: Vec<Instance> = match wanted.split('/').collect::<Vec<_>>().as_slice() {
        [prefix] => {
            let all = remote.instances("", "").await?.into_iter();
            all.filter(|i| i.id.starts_with(prefix) || i.slot_id.starts_with(prefix))
                .collect()
        }
        [application, service, ordinal] => {
            let ordinal: u32 = ordinal.parse().map_err(|_| malformed(wanted))?;
            let all = remote
                .instances(&args.namespace, application)
                .await?
                .into_iter();
            let mut found: Vec<Instance> = all
                .filter(|i| i.service == *service && i.ordinal == ordinal)
                .collect();
            // While it is replaced there are two: the one that stays is meant.
            if found.iter().any(|i| !i.retiring) {
                found.retain(|i| !i.retiring);
            }
            found
        }
        _ => return Err(malformed(wanted)),
    };
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(instance), None) => Ok(instance),
        (None, _) => Err(CliError::Failed(format!(
            "no instance `{wanted}` at {}: see `edgeio get instances -A`",
            remote.server()
        ))),
        (Some(first), Some(second)) => {
            let all = [first, second].into_iter().chain(found);
            let list: Vec<String> = all
                .take(10)
                .map(|i| format!("  {}  {}", i.id, observe::name(&i)))
                .collect();
            Err(CliError::Usage(format!(
                "`{wanted}` may be each of these; write more of it\n{}",
                list.join("\n")
            )))
        }
    }
}

fn malformed(wanted: &str) -> CliError {
    CliError::Usage(format!(
        "`{wanted}` is neither APP/SERVICE/REPLICA, such as hello/web/0, nor an id"
    ))
}

fn application_json(application: &Application, instances: &[Instance]) -> Result<String, CliError> {
    Ok(json::pretty(&json!({
        "application": json::value("edgeio.api.v1.Application", application)?,
        "instances": all_json(instances)?,
    })))
}

fn all_json(instances: &[Instance]) -> Result<Vec<serde_json::Value>, CliError> {
    instances
        .iter()
        .map(|i| json::value("edgeio.api.v1.Instance", i))
        .collect()
}
