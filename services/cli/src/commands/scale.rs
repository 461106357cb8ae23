//! `edgeio scale`: how many replicas of a service run.

use std::collections::BTreeSet;

use edgeio_proto::api::v1::{ScaleRequest, application_service_client::ApplicationServiceClient};

use super::{Context, wait};
use crate::{
    args::{Format, FormatArgs, NamespaceArgs, WaitArgs},
    error::CliError,
    output::{
        json,
        text::{clean, count},
    },
    remote::request_id,
};

const AFTER_HELP: &str = "\
Examples:
  edgeio scale hello --replicas 5             an application with one service
  edgeio scale hello/web --replicas 5 --wait
  edgeio scale hello/web --replicas 0         stop all replicas, keep the application

Replicas that do not run are stopped first, then those with the highest numbers.";

/// Set how many replicas of a service run.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The application, and the service if it has several
    #[arg(value_name = "APP[/SERVICE]")]
    pub target: String,
    /// How many should run
    #[arg(short = 'r', long, value_name = "NUMBER")]
    pub replicas: u32,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub format: FormatArgs,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let (name, service) = match args.target.split_once('/') {
        None => (args.target.as_str(), ""),
        Some((name, service)) if !service.is_empty() && !service.contains('/') => (name, service),
        Some(_) => {
            return Err(CliError::Usage(format!(
                "`{}` is not APP or APP/SERVICE",
                args.target
            )));
        }
    };
    let remote = context.connect().await?;
    let patience = wait::Patience::new(args.wait.timeout);
    let request = ScaleRequest {
        namespace: args.namespace.namespace,
        name: name.to_owned(),
        service: service.to_owned(),
        replicas: args.replicas,
        request_id: request_id(),
        expected_version: 0,
    };
    let response = remote
        .call(&format!("scale `{}`", args.target), |channel| {
            let request = request.clone();
            async move { ApplicationServiceClient::new(channel).scale(request).await }
        })
        .await?;
    let application = response.application.clone().unwrap_or_default();
    match args.format.output {
        Format::Json => {
            let value = json::value("edgeio.api.v1.ScaleResponse", &response)?;
            context.out.result(&json::pretty(&value))?;
        }
        Format::Table => context.out.result(&format!(
            "application {}/{}: {} wanted (version {})",
            clean(&application.namespace),
            clean(&args.target),
            count(args.replicas as usize, "replica"),
            application.version,
        ))?,
    }
    if args.wait.wait {
        wait::until_ready(context, &remote, &application, &BTreeSet::new(), &patience).await?;
    }
    Ok(())
}
