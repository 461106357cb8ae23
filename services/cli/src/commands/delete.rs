//! `edgeio delete`: the end of an application.

use edgeio_proto::api::v1::{DeleteRequest, application_service_client::ApplicationServiceClient};

use super::{Context, wait};
use crate::{
    args::{Format, FormatArgs, NamespaceArgs, WaitArgs},
    error::CliError,
    observe,
    output::{
        json,
        text::{clean, count, dash},
    },
    remote::request_id,
};

const AFTER_HELP: &str = "\
The answer comes when the deletion is durable; the instances then stop, also those on machines that are away now, when they come back. \
The name is free when all have stopped: --wait waits for that.

Examples:
  edgeio delete hello
  edgeio delete hello --wait --timeout 2m
  edgeio delete hello --force         do not wait for machines that will not come back; what they run is abandoned and listed

On a terminal it asks first; --yes does not.";

/// Delete an application.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The application
    #[arg(value_name = "APP")]
    pub application: String,
    /// Forget what runs on children that cannot be reached, instead of waiting for them
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub format: FormatArgs,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let (namespace, name) = (&args.namespace.namespace, &args.application);
    if !args.yes && context.out.notes_on_terminal {
        let instances = remote.instances(namespace, name).await?.len();
        let force = if args.force {
            ", abandoning what cannot be reached"
        } else {
            ""
        };
        let question = format!(
            "Delete application {namespace}/{name} and its {}{force}?",
            count(instances, "instance")
        );
        if !context.out.confirm(&question)? {
            return Err(CliError::Failed("not deleted".to_owned()));
        }
    }
    let patience = wait::Patience::new(args.wait.timeout);
    let request = DeleteRequest {
        namespace: namespace.clone(),
        name: name.clone(),
        force: args.force,
        request_id: request_id(),
        expected_version: 0,
    };
    let response = remote
        .call(
            &format!("delete application `{namespace}/{name}`"),
            |channel| {
                let request = request.clone();
                async move { ApplicationServiceClient::new(channel).delete(request).await }
            },
        )
        .await?;
    let application = response.application.clone().unwrap_or_default();
    match args.format.output {
        Format::Json => {
            let value = json::value("edgeio.api.v1.DeleteResponse", &response)?;
            context.out.result(&json::pretty(&value))?;
        }
        Format::Table => {
            let waiting = application
                .status
                .as_ref()
                .map(|s| s.waiting_for.join(", "));
            let mut text = format!("application {namespace}/{name}: deleting");
            if let Some(waiting) = waiting.filter(|waiting| !waiting.is_empty()) {
                text += &format!("; waits for {}", clean(&waiting));
            }
            for instance in &response.abandoned {
                text += &clean(&format!(
                    "\nabandoned: {} {} on {}",
                    observe::name(instance),
                    instance.id,
                    dash(&observe::place(instance)),
                ));
            }
            context.out.result(&text)?;
        }
    }
    if args.wait.wait {
        wait::until_gone(context, &remote, &application, &patience).await?;
    }
    Ok(())
}
