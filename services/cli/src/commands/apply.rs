//! `edgeio apply`: manifests to applications.
//!
//! Every document of the file is read and checked before the first call, so that a mistake in the last one leaves nothing half
//! applied. What is refused for its meaning is refused by the server, and the documents before it stay applied.

use std::collections::BTreeSet;

use edgeio_proto::api::v1::{
    Application, ApplyRequest, ApplyResponse, GetRequest, PlanAction, PlanStep, ServiceSpec,
    application_service_client::ApplicationServiceClient,
};

use super::{Context, wait};
use crate::{
    args::{Format, FormatArgs, WaitArgs},
    error::CliError,
    manifest::{self, Document},
    output::{
        json,
        table::table,
        text::{clean, count, dash, plan_action},
    },
    remote::{Remote, request_id},
};

const AFTER_HELP: &str = "\
A manifest is YAML or JSON: the protobuf JSON form of edgeio.api.v1.ApplyRequest, the same that `grpcurl -d` takes. \
Several documents are separated by `---`.

  application:
    name: hello
    services:
      - name: web
        replicas: 2
        image: registry.example/web:1.2        # a container; or, without an image:
        # command: [/bin/sh, -c, 'while :; do date; sleep 5; done']
        resources: {cpu: 250m, memory: 64Mi}
        ports: [{container: 80, host: 8080}]
        env: {GREETING: hello}
        restart: always                        # always, on-failure or never

Examples:
  edgeio apply -f hello.yaml               create it, or change it where the manifest differs
  edgeio apply -f hello.yaml --dry-run     say what would happen and where it would run
  edgeio apply -f hello.yaml --wait        follow it until every replica runs
  cat hello.yaml | edgeio apply -f -

Leave `replicas` out to keep the number that `edgeio scale` set.";

/// Create or change applications from a manifest.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The manifest; `-` reads standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: String,
    /// The namespace for documents that name none
    #[arg(short = 'n', long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Let the server check it and answer the plan; change nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub format: FormatArgs,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let mut documents = manifest::load(&args.file)?;
    for document in &mut documents {
        complete(document, &args)?;
    }
    let remote = context.connect().await?;
    let patience = wait::Patience::new(args.wait.timeout);
    let mut applied = Vec::new();
    for Document { request, .. } in documents {
        let dry_run = request.validate_only;
        let name = request.application.as_ref().map(label).unwrap_or_default();
        let before = existing(&remote, &request).await;
        let response = send(&remote, &request, &name).await?;
        match args.format.output {
            Format::Json => {
                let value = json::value("edgeio.api.v1.ApplyResponse", &response)?;
                context.out.result(&json::pretty(&value))?;
            }
            Format::Table => {
                let text = if dry_run {
                    plan(&response)
                } else {
                    done(&response, before.as_ref())
                };
                context.out.result(&text)?;
            }
        }
        if let (Some(application), false) = (response.application, dry_run) {
            let replaced = replaced(before.as_ref(), &application);
            applied.push((application, replaced));
        }
    }
    if args.wait.wait {
        for (application, replaced) in applied {
            wait::until_ready(context, &remote, &application, &replaced, &patience).await?;
        }
    }
    Ok(())
}

/// Adds what the command line says.
fn complete(document: &mut Document, args: &Args) -> Result<(), CliError> {
    let request = &mut document.request;
    request.validate_only |= args.dry_run;
    if request.request_id.is_empty() {
        request.request_id = request_id();
    }
    if let (Some(given), Some(application)) = (&args.namespace, &mut request.application) {
        if !application.namespace.is_empty() && application.namespace != *given {
            return Err(CliError::Usage(format!(
                "{}:{}: application.namespace is `{}`, but the command line says --namespace {given}: keep one of the two",
                args.file, document.line, application.namespace,
            )));
        }
        application.namespace.clone_from(given);
    }
    Ok(())
}

async fn send(
    remote: &Remote,
    request: &ApplyRequest,
    name: &str,
) -> Result<ApplyResponse, CliError> {
    remote
        .call(&format!("apply `{name}`"), |channel| {
            let request = request.clone();
            async move { ApplicationServiceClient::new(channel).apply(request).await }
        })
        .await
}

fn label(application: &edgeio_proto::api::v1::ApplicationSpec) -> String {
    match application.namespace.as_str() {
        "" => format!("default/{}", application.name),
        namespace => format!("{namespace}/{}", application.name),
    }
}

/// The application as it is now, for saying what became of it; any trouble is left to the call that matters.
async fn existing(remote: &Remote, request: &ApplyRequest) -> Option<Application> {
    let application = request.application.as_ref()?;
    let answer = remote.try_call(|channel| {
        let request = GetRequest {
            namespace: application.namespace.clone(),
            name: application.name.clone(),
        };
        async move { ApplicationServiceClient::new(channel).get(request).await }
    });
    answer.await.ok()?.application
}

/// Services whose instances are replaced: their old failures say nothing about the new ones.
fn replaced(before: Option<&Application>, after: &Application) -> BTreeSet<String> {
    let services = |application: &Application| {
        let spec = application.spec.clone().unwrap_or_default();
        let without_replicas = |service| ServiceSpec {
            replicas: None,
            ..service
        };
        spec.services
            .into_iter()
            .map(without_replicas)
            .collect::<Vec<_>>()
    };
    let old = before.map(services).unwrap_or_default();
    let changed = services(after)
        .into_iter()
        .filter(|service| !old.contains(service));
    changed.map(|service| service.name).collect()
}

fn title(response: &ApplyResponse) -> String {
    let application = response.application.clone().unwrap_or_default();
    format!(
        "application {}/{}",
        clean(&application.namespace),
        clean(&application.name)
    )
}

fn done(response: &ApplyResponse, before: Option<&Application>) -> String {
    let version = response
        .application
        .as_ref()
        .map_or(0, |application| application.version);
    let what = match before.map(|before| before.version) {
        None => "created".to_owned(),
        Some(old) if old == version => format!("unchanged (version {version})"),
        Some(_) => format!("changed (version {version})"),
    };
    format!("{}: {what}\n", title(response))
}

fn plan(response: &ApplyResponse) -> String {
    let of = |action| {
        response
            .plan
            .iter()
            .filter(|step| step.action() == action)
            .count()
    };
    let changes: Vec<String> = [
        (PlanAction::Create, "to create"),
        (PlanAction::Replace, "to replace"),
        (PlanAction::Stop, "to stop"),
        (PlanAction::Keep, "unchanged"),
    ]
    .into_iter()
    .filter(|(action, _)| of(*action) > 0)
    .map(|(action, what)| format!("{} {what}", count(of(action), "replica")))
    .collect();
    let mut text = format!("{}: valid, nothing changed", title(response));
    if !changes.is_empty() {
        text += &format!("; {}", changes.join(", "));
    }
    text.push('\n');
    if !response.plan.is_empty() {
        let rows: Vec<_> = response.plan.iter().map(step).collect();
        text += &table(&["ACTION", "SERVICE", "REPLICA", "WHERE"], &rows);
    }
    text
}

fn step(step: &PlanStep) -> Vec<String> {
    let place = if step.candidates.is_empty() {
        dash(&step.child)
    } else {
        let reasons = step
            .candidates
            .iter()
            .map(|c| format!("{}: {}", c.candidate, c.reasons.join(", ")));
        format!("nowhere now: {}", reasons.collect::<Vec<_>>().join("; "))
    };
    vec![
        plan_action(step.action),
        step.service.clone(),
        step.ordinal.to_string(),
        place,
    ]
}
