//! `edgeio hold`: decides on what runs though nobody asks for it.

use edgeio_proto::api::v1::{
    Held, HeldDecision, HeldKind, ResolveHeldRequest,
    application_service_client::ApplicationServiceClient,
};

use super::Context;
use crate::{
    error::CliError,
    observe::replica,
    output::text::{clean, count},
    remote::{Remote, request_id},
};

const ACCEPT_HELP: &str = "\
Says that the database is right: what it does not ask for is stopped, wherever it runs.

Examples:
  edgeio get holds
  edgeio hold accept 0199f3a1-7c                an id or its beginning
  edgeio hold accept --all --application shop   everything that is held under this name

On a terminal it asks first; --yes does not.";

const ADOPT_HELP: &str = "\
Says that it is wanted: it goes on under its id as a replica of its application, which grows by one, or is made again from what is \
known of it. Only the tier that owns it can do that.

Examples:
  edgeio hold adopt 0199f3a1-7c
  edgeio hold adopt --all --application shop -n default";

/// Decide on what runs though nobody asks for it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The decision.
    #[command(subcommand)]
    pub what: What,
}

/// The decisions.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// It is not wanted: stop it
    #[command(after_help = ACCEPT_HELP)]
    Accept(AcceptArgs),
    /// It is wanted: take it under management
    #[command(after_help = ADOPT_HELP)]
    Adopt(Chosen),
}

/// What to stop.
#[derive(Debug, clap::Args)]
pub struct AcceptArgs {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
}

/// Which of what is held.
#[derive(Debug, clap::Args)]
pub struct Chosen {
    /// Ids or beginnings of ids, as `edgeio get holds` shows them
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub ids: Vec<String>,
    /// All that is held under the name that --application gives
    #[arg(long, requires = "application")]
    pub all: bool,
    /// The application, with --all
    #[arg(long, value_name = "APP", requires = "all")]
    pub application: Option<String>,
    /// The namespace, with --all
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let (chosen, decision, done) = match &args.what {
        What::Accept(args) => (&args.chosen, HeldDecision::Accept, "will be stopped"),
        What::Adopt(chosen) => (chosen, HeldDecision::Adopt, "adopted"),
    };
    let found = choose(&remote, chosen).await?;
    if let What::Accept(args) = &args.what
        && !args.yes
        && context.out.notes_on_terminal
    {
        let names: Vec<String> = found.iter().take(10).map(name).collect();
        let question = format!(
            "Stop {} that nobody asks for: {}{}?",
            count(found.len(), "instance"),
            names.join(", "),
            if found.len() > 10 { ", …" } else { "" }
        );
        if !context.out.confirm(&question)? {
            return Err(CliError::Failed("nothing was stopped".to_owned()));
        }
    }
    let mut lines = Vec::new();
    for held in &found {
        let request = ResolveHeldRequest {
            id: held.id.clone(),
            decision: decision.into(),
            request_id: request_id(),
        };
        let attempt = format!("decide on `{}`", held.id);
        let decided = remote
            .call(&attempt, |channel| {
                let request = request.clone();
                async move {
                    ApplicationServiceClient::new(channel)
                        .resolve_held(request)
                        .await
                }
            })
            .await;
        if let Err(error) = decided {
            // What was decided before it stands, and is told.
            context.out.result(&lines.join("\n"))?;
            return Err(error);
        }
        lines.push(clean(&format!("{} {}: {done}", name(held), held.id)));
    }
    context.out.result(&lines.join("\n"))
}

fn name(held: &Held) -> String {
    replica(&held.application, &held.service, held.ordinal)
}

async fn choose(remote: &Remote, chosen: &Chosen) -> Result<Vec<Held>, CliError> {
    if let Some(application) = &chosen.application {
        let kind = HeldKind::Unspecified;
        let found = remote.held(&chosen.namespace, application, kind).await?;
        if found.is_empty() {
            return Err(CliError::Failed(format!(
                "nothing is held of application `{}/{application}` at {}",
                chosen.namespace,
                remote.server()
            )));
        }
        return Ok(found);
    }
    let all = remote.held("", "", HeldKind::Unspecified).await?;
    let mut found: Vec<Held> = Vec::new();
    for wanted in &chosen.ids {
        let mut fits = all.iter().filter(|held| held.id.starts_with(wanted));
        match (fits.next(), fits.next()) {
            (Some(held), None) => {
                if found.iter().all(|other| other.id != held.id) {
                    found.push(held.clone());
                }
            }
            (None, _) => {
                return Err(CliError::Failed(format!(
                    "nothing that is held at {} has the id `{wanted}`: see `edgeio get holds -A` and `edgeio get orphans -A`",
                    remote.server()
                )));
            }
            (Some(_), Some(_)) => {
                return Err(CliError::Usage(format!(
                    "`{wanted}` may be several of what is held; write more of it"
                )));
            }
        }
    }
    Ok(found)
}
