//! `edgeio watch`: changes as they happen.

use edgeio_client::WatchEvent;
use edgeio_proto::api::v1::{Application, WatchResponse, watch_response::Change};
use futures::StreamExt;

use super::Context;
use crate::{
    args::{Format, FormatArgs},
    error::CliError,
    observe,
    output::{
        json,
        text::{application_phase, clean, instance_phase},
    },
};

const AFTER_HELP: &str = "\
First what exists is printed, then each change, until Ctrl-C. A lost connection is taken up again where it broke.

Examples:
  edgeio watch                    everything in namespace default
  edgeio watch hello
  edgeio watch -A -o json         one JSON object a line";

/// Print changes as they happen.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Only this application
    #[arg(value_name = "APP")]
    pub application: Option<String>,
    /// The namespace
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "application"])]
    pub all_namespaces: bool,
    #[command(flatten)]
    pub format: FormatArgs,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let namespace = if args.all_namespaces {
        ""
    } else {
        args.namespace.as_str()
    };
    let wanted = args.application.as_deref().unwrap_or_default();
    let mut events = remote.watch(namespace, wanted);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Message(message) => {
                let text = match args.format.output {
                    Format::Json => {
                        json::line(&json::value("edgeio.api.v1.WatchResponse", &message)?)
                    }
                    Format::Table => line(&message),
                };
                if !text.is_empty() {
                    context.out.result(&text)?;
                }
            }
            WatchEvent::Restarted => {
                context
                    .out
                    .note("some changes were missed; what exists now follows");
            }
            WatchEvent::Interrupted { .. } => {
                context
                    .out
                    .note(&format!("lost {}; trying again", remote.server()));
            }
        }
    }
    Ok(())
}

/// One line, or nothing for what only programs need.
fn line(message: &WatchResponse) -> String {
    let text = match &message.change {
        Some(Change::Application(application)) => summary(application),
        Some(Change::Instance(instance)) => {
            let mut text = format!(
                "instance {}/{} {}",
                instance.namespace,
                observe::name(instance),
                instance_phase(instance.phase)
            );
            let place = observe::place(instance);
            if !place.is_empty() {
                text += &format!(" on {place}");
            }
            if instance.retiring {
                text += ", retiring";
            }
            let told = !(instance.reason.is_empty()
                && instance.message.is_empty()
                && instance.candidates.is_empty());
            if told {
                text += &format!(": {}", observe::why(instance));
            }
            text
        }
        Some(Change::ApplicationGone(gone)) => {
            format!("application {}/{} gone", gone.namespace, gone.name)
        }
        Some(Change::InstanceGone(gone)) => {
            format!(
                "instance {}/{} gone: slot {}",
                gone.namespace, gone.application, gone.slot_id
            )
        }
        Some(Change::Bookmark(_)) | None => return String::new(),
    };
    clean(&text)
}

fn summary(application: &Application) -> String {
    let status = application.status.clone().unwrap_or_default();
    let running: u32 = status
        .services
        .iter()
        .map(|s| s.running + s.completed)
        .sum();
    let wanted: u32 = status.services.iter().map(|s| s.replicas).sum();
    format!(
        "application {}/{} {} {running}/{wanted} running, version {}",
        application.namespace,
        application.name,
        application_phase(status.phase),
        application.version
    )
}
