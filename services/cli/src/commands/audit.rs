//! `edgeio audit`: who did or tried what, and whether that record is whole.

use edgeio_proto::api::v1::{
    self as api, AuditEntry, VerifyAuditRequest, access_service_client::AccessServiceClient,
};

use super::{Context, access::when};
use crate::{
    args::{Format, FormatArgs},
    error::CliError,
    output::{json, table::table},
};

const AFTER_HELP: &str = "\
Each entry is bound to the one before it by a hash. `verify` goes over all of them and tells the newest hash: keep it elsewhere, and name
it with --head later, to know that nothing was removed at the end either.

Examples:
  edgeio audit list
  edgeio audit list --limit 1000 -o json
  edgeio audit verify --head 9c2f...";

/// The largest page a server gives.
const PAGE: u32 = 1000;

/// List or verify the record of who did what.
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
    /// List entries, newest first
    List(ListArgs),
    /// Go over all entries; exit with 1 if one was changed or removed
    Verify(VerifyArgs),
}

/// Which entries.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What is known already.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// A hash that an earlier run told: it must still be there
    #[arg(long, value_name = "HASH")]
    pub head: Option<String>,
    #[command(flatten)]
    pub format: FormatArgs,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    match args.what {
        What::List(asked) => {
            let entries = entries(context, Some(asked.limit), |_| false).await?;
            let text = match asked.format.output {
                Format::Json => {
                    let message = api::ListAuditResponse {
                        entries,
                        ..Default::default()
                    };
                    json::pretty(&json::value("edgeio.api.v1.ListAuditResponse", &message)?)
                }
                Format::Table => {
                    let rows: Vec<_> = entries.iter().map(row).collect();
                    let headings = [
                        "SEQ",
                        "AT",
                        "WHO",
                        "FROM",
                        "DID",
                        "TO",
                        "NAMESPACE",
                        "DECISION",
                        "DETAIL",
                    ];
                    table(&headings, &rows)
                }
            };
            context.out.result(&text)
        }
        What::Verify(asked) => verify(&asked, context).await,
    }
}

/// The newest entries, up to a number or until one is the last.
async fn entries(
    context: &Context,
    limit: Option<usize>,
    is_last: impl Fn(&AuditEntry) -> bool,
) -> Result<Vec<AuditEntry>, CliError> {
    let remote = context.connect().await?;
    let mut all: Vec<AuditEntry> = Vec::new();
    let mut token = String::new();
    loop {
        let left = limit.map_or(usize::MAX, |limit| limit - all.len());
        let request = api::ListAuditRequest {
            page_size: u32::try_from(left).unwrap_or(PAGE).min(PAGE),
            page_token: token,
        };
        if left == 0 {
            return Ok(all);
        }
        let page = remote
            .call("list the audit", |channel| {
                let request = request.clone();
                async move { AccessServiceClient::new(channel).list_audit(request).await }
            })
            .await?;
        let done = page.entries.iter().any(&is_last);
        all.extend(page.entries);
        token = page.next_page_token;
        if done || token.is_empty() {
            return Ok(all);
        }
    }
}

fn row(entry: &AuditEntry) -> Vec<String> {
    vec![
        entry.seq.to_string(),
        when(entry.at.as_ref()),
        format!("{} {}", entry.kind, entry.name),
        entry.source.clone(),
        entry.verb.clone(),
        entry.object.clone(),
        entry.namespace.clone(),
        entry.decision.clone(),
        entry.detail.clone(),
    ]
}

async fn verify(asked: &VerifyArgs, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let answer = remote
        .call("verify the audit", |channel| async move {
            AccessServiceClient::new(channel)
                .verify_audit(VerifyAuditRequest {})
                .await
        })
        .await?;
    if let (Some(head), true) = (&asked.head, answer.unbroken) {
        let head = head.to_lowercase();
        let found = entries(context, None, |entry| entry.hash == head).await?;
        if !found.iter().any(|entry| entry.hash == head) {
            return Err(CliError::Failed(
                "the audit is whole as far as it goes, but no entry has that hash: entries were removed at its end, \
                 or this is another server's"
                    .to_owned(),
            ));
        }
    }
    if !answer.unbroken {
        return Err(CliError::Failed(format!(
            "the audit is broken: entry {} was changed or removed; {} before it are good",
            answer.broken_at, answer.entries
        )));
    }
    let text = match asked.format.output {
        Format::Json => json::pretty(&json::value("edgeio.api.v1.VerifyAuditResponse", &answer)?),
        Format::Table => format!("{} entries, unbroken, head {}", answer.entries, answer.head),
    };
    context.out.result(&text)
}
