//! `edgeio get`: lists of applications, services, instances, clusters and workers, each with all its pages.

pub(crate) mod tables;

use clap::ValueEnum;
use edgeio_proto::{api::v1 as api, cluster::v1 as cluster, root::v1 as root};

use super::Context;
use crate::{
    args::{Format, FormatArgs},
    error::CliError,
    output::json,
};

const AFTER_HELP: &str = "\
Applications, services and instances can be listed at the root and at a cluster; clusters only at the root, workers only at a cluster.

Examples:
  edgeio get apps
  edgeio get instances hello                            the instances of one application
  edgeio get instances -A -o json                       of all namespaces, for a program
  edgeio get clusters
  edgeio get holds -A                                   what runs though nobody asks for it; see `edgeio hold`
  edgeio get workers --server 127.0.0.1:10100           ask a cluster, not the root";

/// List applications, services, instances, clusters, workers, or what is held.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// What to list
    #[arg(value_enum, value_name = "WHAT")]
    pub what: What,
    /// Only of this application; for services, instances, holds and orphans
    #[arg(value_name = "APP")]
    pub application: Option<String>,
    /// The namespace
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Applications
    #[value(alias = "app", alias = "applications", alias = "application")]
    Apps,
    /// Their services
    #[value(alias = "service")]
    Services,
    /// What runs, and what has no place
    #[value(alias = "instance")]
    Instances,
    /// The root's clusters
    #[value(alias = "cluster")]
    Clusters,
    /// A cluster's workers
    #[value(alias = "worker")]
    Workers,
    /// What runs though the database does not ask for it
    #[value(alias = "hold")]
    Holds,
    /// What runs at a cluster though its root does not name it any more
    #[value(alias = "orphan")]
    Orphans,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let of_application = matches!(
        args.what,
        What::Services | What::Instances | What::Holds | What::Orphans
    );
    if args.application.is_some() && !of_application {
        return Err(CliError::Usage(
            "an application can be named for services, instances, holds and orphans only; \
             one application is shown by `edgeio describe app NAME`"
                .to_owned(),
        ));
    }
    let remote = context.connect().await?;
    let namespace = if args.all_namespaces {
        ""
    } else {
        args.namespace.as_str()
    };
    let wanted = args.application.as_deref().unwrap_or_default();
    let as_json = args.format.output == Format::Json;
    let text = match args.what {
        What::Apps => {
            let applications = remote.applications(namespace).await?;
            if as_json {
                let message = api::ListResponse {
                    applications,
                    ..Default::default()
                };
                json::pretty(&json::value("edgeio.api.v1.ListResponse", &message)?)
            } else {
                tables::apps(&applications)
            }
        }
        What::Services => {
            let applications = match wanted {
                "" => remote.applications(namespace).await?,
                name => vec![remote.application(namespace, name).await?],
            };
            if as_json {
                tables::services_json(&applications)?
            } else {
                tables::services(&applications)
            }
        }
        What::Instances => {
            if !wanted.is_empty() && !args.all_namespaces {
                // An unknown name is an error, and not an empty list.
                remote.application(namespace, wanted).await?;
            }
            let instances = remote.instances(namespace, wanted).await?;
            if as_json {
                let message = api::ListInstancesResponse {
                    instances,
                    ..Default::default()
                };
                json::pretty(&json::value(
                    "edgeio.api.v1.ListInstancesResponse",
                    &message,
                )?)
            } else {
                tables::instances(&instances)
            }
        }
        What::Clusters => {
            let clusters = remote.clusters().await?;
            if as_json {
                let message = root::ListResponse {
                    clusters,
                    ..Default::default()
                };
                json::pretty(&json::value("edgeio.root.v1.ListResponse", &message)?)
            } else {
                tables::clusters(&clusters)
            }
        }
        What::Workers => {
            let workers = remote.workers().await?;
            if as_json {
                let message = cluster::ListResponse {
                    workers,
                    ..Default::default()
                };
                json::pretty(&json::value("edgeio.cluster.v1.ListResponse", &message)?)
            } else {
                tables::workers(&workers)
            }
        }
        What::Holds | What::Orphans => {
            let kind = if args.what == What::Holds {
                api::HeldKind::Hold
            } else {
                api::HeldKind::Orphan
            };
            let held = remote.held(namespace, wanted, kind).await?;
            if as_json {
                let message = api::ListHeldResponse {
                    held,
                    ..Default::default()
                };
                json::pretty(&json::value("edgeio.api.v1.ListHeldResponse", &message)?)
            } else {
                tables::held(&held)
            }
        }
    };
    if text.is_empty() {
        context.out.note(&nothing(&args));
    }
    context.out.result(&text)
}

fn nothing(args: &Args) -> String {
    let hint = match args.what {
        What::Apps | What::Services | What::Instances | What::Holds | What::Orphans
            if !args.all_namespaces =>
        {
            format!(" in namespace {}; -A looks in all", args.namespace)
        }
        What::Clusters => {
            "; a cluster appears when `edgeio-cluster` registers with this root".to_owned()
        }
        What::Workers => {
            "; a worker appears when `edgeio-worker` registers with this cluster".to_owned()
        }
        _ => String::new(),
    };
    format!("nothing found{hint}")
}
