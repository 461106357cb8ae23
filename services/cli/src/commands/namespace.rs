//! `edgeio namespace`: parts of a server with users and limits of their own.

use edgeio_proto::api::v1::{self as api, access_service_client::AccessServiceClient};

use super::{Context, access::all_pages};
use crate::{
    args::{Format, FormatArgs},
    error::CliError,
    output::{json, table::table},
    remote::request_id,
};

const AFTER_HELP: &str = "\
Examples:
  edgeio namespace create shop --cpu 8 --memory 16Gi --instances 50
  edgeio namespace list
  edgeio namespace quota shop --cpu 16                  the whole quota: what is not named has no limit
  edgeio namespace quota shop --unlimited
  edgeio namespace delete shop                          only when nothing is in it";

/// Manage namespaces and the most that each may ask for.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Make a namespace
    Create(CreateArgs),
    /// List namespaces with what they use
    List(FormatArgs),
    /// Remove an empty namespace
    Delete(DeleteArgs),
    /// Set the most that a namespace may ask for
    Quota(QuotaArgs),
}

/// The most that may be asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Limits {
    /// Cores over all replicas, such as 8 or 500m
    #[arg(long, value_name = "CORES")]
    pub cpu: Option<String>,
    /// Memory over all replicas, such as 16Gi
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Replicas
    #[arg(long, value_name = "N")]
    pub instances: Option<u32>,
    /// Applications
    #[arg(long, value_name = "N")]
    pub applications: Option<u32>,
}

impl Limits {
    fn quota(&self) -> api::Quota {
        api::Quota {
            cpu: self.cpu.clone(),
            memory: self.memory.clone(),
            instances: self.instances,
            applications: self.applications,
        }
    }
}

/// A new namespace.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub limits: Limits,
}

/// Which namespace.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// A quota.
#[derive(Debug, clap::Args)]
pub struct QuotaArgs {
    /// The namespace
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub limits: Limits,
    /// No limit at all
    #[arg(long, conflicts_with_all = ["cpu", "memory", "instances", "applications"])]
    pub unlimited: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    match args.what {
        What::Create(asked) => create(&asked, context).await,
        What::List(format) => list(&format, context).await,
        What::Delete(asked) => delete(&asked.name, context).await,
        What::Quota(asked) => quota(&asked, context).await,
    }
}

async fn create(asked: &CreateArgs, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let request = api::CreateNamespaceRequest {
        name: asked.name.clone(),
        quota: Some(asked.limits.quota()),
        request_id: request_id(),
    };
    remote
        .call(&format!("create namespace `{}`", asked.name), |channel| {
            let request = request.clone();
            async move {
                AccessServiceClient::new(channel)
                    .create_namespace(request)
                    .await
            }
        })
        .await?;
    context
        .out
        .result(&format!("namespace {} made", asked.name))
}

async fn list(format: &FormatArgs, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let namespaces = all_pages(
        &remote,
        "list namespaces",
        |channel, page_token| async move {
            let request = api::ListNamespacesRequest {
                page_size: 0,
                page_token,
            };
            let answer = AccessServiceClient::new(channel)
                .list_namespaces(request)
                .await?;
            Ok(answer.map(|page| (page.namespaces, page.next_page_token)))
        },
    )
    .await?;
    let text = match format.output {
        Format::Json => {
            let message = api::ListNamespacesResponse {
                namespaces,
                ..Default::default()
            };
            json::pretty(&json::value(
                "edgeio.api.v1.ListNamespacesResponse",
                &message,
            )?)
        }
        Format::Table => {
            let rows: Vec<_> = namespaces.iter().map(row).collect();
            table(
                &["NAME", "CPU", "MEMORY", "INSTANCES", "APPLICATIONS"],
                &rows,
            )
        }
    };
    context.out.result(&text)
}

/// `used/limit` of each.
fn row(namespace: &api::Namespace) -> Vec<String> {
    let used = namespace.used.clone().unwrap_or_default();
    let quota = namespace.quota.clone().unwrap_or_default();
    let of = |used: Option<String>, limit: Option<String>| {
        let used = used.unwrap_or_else(|| "0".to_owned());
        limit.map_or_else(|| used.clone(), |limit| format!("{used}/{limit}"))
    };
    let number = |n: Option<u32>| n.map(|n| n.to_string());
    vec![
        namespace.name.clone(),
        of(used.cpu, quota.cpu),
        of(used.memory, quota.memory),
        of(number(used.instances), number(quota.instances)),
        of(number(used.applications), number(quota.applications)),
    ]
}

async fn delete(name: &str, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let request = api::DeleteNamespaceRequest {
        name: name.to_owned(),
        request_id: request_id(),
    };
    remote
        .call(&format!("delete namespace `{name}`"), |channel| {
            let request = request.clone();
            async move {
                AccessServiceClient::new(channel)
                    .delete_namespace(request)
                    .await
            }
        })
        .await?;
    context.out.result(&format!("namespace {name} removed"))
}

async fn quota(asked: &QuotaArgs, context: &Context) -> Result<(), CliError> {
    let quota = asked.limits.quota();
    if quota == api::Quota::default() && !asked.unlimited {
        return Err(CliError::Usage(
            "name at least one of --cpu, --memory, --instances and --applications, or --unlimited"
                .to_owned(),
        ));
    }
    let remote = context.connect().await?;
    let request = api::SetQuotaRequest {
        namespace: asked.name.clone(),
        quota: Some(quota),
        request_id: request_id(),
    };
    let answer = remote
        .call(&format!("set the quota of `{}`", asked.name), |channel| {
            let request = request.clone();
            async move { AccessServiceClient::new(channel).set_quota(request).await }
        })
        .await?;
    let namespace = answer.namespace.unwrap_or_default();
    let headings = ["NAME", "CPU", "MEMORY", "INSTANCES", "APPLICATIONS"];
    context.out.result(&table(&headings, &[row(&namespace)]))
}
