//! `edgeio token`: join tokens, by which clusters join a root, and workers and bridges a cluster.

use std::time::Duration;

use clap::ValueEnum;
use edgeio_proto::api::v1::{
    CreateJoinTokenRequest, JoinToken, ListJoinTokensRequest, RevokeJoinTokenRequest,
    join_service_client::JoinServiceClient,
};
use serde_json::json;

use super::Context;
use crate::{
    args::{Format, FormatArgs},
    error::CliError,
    output::{
        json,
        table::table,
        text::{age, dash, short},
    },
    remote::Remote,
};

const CREATE_HELP: &str = "\
The token is a secret, and it is shown only now. Whoever has it may join until it ends. Hand it on as a file: arguments can be read
by everybody on a machine.

Examples:
  edgeio token create                                           one cluster, at the root, within an hour
  edgeio token create --server 127.0.0.1:10100                  one worker, at a cluster, within an hour
  edgeio token create --server site:10100 --uses 20 --for 1d --names 'site-7-*'
  edgeio token create --server site:10100 --kind bridge";

/// Make, list and revoke join tokens.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Make a token and say how a machine joins with it
    #[command(after_help = CREATE_HELP)]
    Create(CreateArgs),
    /// List tokens, without their secrets
    List(FormatArgs),
    /// Revoke a token; who has joined with it stays
    Revoke(RevokeArgs),
}

/// What a token allows.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// What may join; by default a cluster at a root, a worker at a cluster
    #[arg(long, value_enum, value_name = "KIND")]
    pub kind: Option<Kind>,
    /// Under which names, with `*` for any letters; by default any
    #[arg(long, value_name = "PATTERN", default_value = "")]
    pub names: String,
    /// How many machines may join with it
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: u32,
    /// For how long, such as 30m or 7d
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    #[arg(value_parser = humantime::parse_duration)]
    pub lifetime: Duration,
    /// How to write the result.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A cluster, at a root
    Cluster,
    /// A worker, at a cluster
    Worker,
    /// A bridge, at a cluster
    Bridge,
}

/// Which token.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Its id, as `edgeio token list` shows it
    #[arg(value_name = "ID")]
    pub id: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    match args.what {
        What::Create(args) => create(args, context, &remote).await,
        What::List(format) => list(&format, context, &remote).await,
        What::Revoke(args) => revoke(&args.id, context, &remote).await,
    }
}

async fn create(args: CreateArgs, context: &Context, remote: &Remote) -> Result<(), CliError> {
    let kind = match args.kind {
        None => "",
        Some(Kind::Cluster) => "cluster",
        Some(Kind::Worker) => "worker",
        Some(Kind::Bridge) => "bridge",
    };
    let request = CreateJoinTokenRequest {
        kind: kind.to_owned(),
        names: args.names,
        max_uses: args.uses,
        lifetime_ms: u64::try_from(args.lifetime.as_millis()).unwrap_or(u64::MAX),
    };
    let answer = remote
        .call("make a join token", |channel| {
            let request = request.clone();
            async move {
                JoinServiceClient::new(channel)
                    .create_join_token(request)
                    .await
            }
        })
        .await?;
    let record = answer.record.clone().unwrap_or_default();
    if args.format.output == Format::Json {
        let value = json::value("edgeio.api.v1.CreateJoinTokenResponse", &answer)?;
        return context.out.result(&json::pretty(&value));
    }
    let server = remote.server();
    let start = match record.kind.as_str() {
        "cluster" => format!("edgeio-cluster --root {server} --join-token-file join.token"),
        "bridge" => format!(
            "edgeio-bridge --cluster {server} --data-dir /var/lib/edgeio-bridge --join-token-file join.token"
        ),
        _ => format!("edgeio-worker --cluster {server} --join-token-file join.token"),
    };
    context.out.note(&format!(
        "{} {} may join with this token within {}. On the new machine:",
        record.max_uses,
        if record.max_uses == 1 {
            record.kind.clone()
        } else {
            format!("{}s", record.kind)
        },
        short(args.lifetime),
    ));
    context.out.result(&format!(
        "(umask 077; echo '{}' > join.token)\n{start}",
        answer.token
    ))
}

async fn list(args: &FormatArgs, context: &Context, remote: &Remote) -> Result<(), CliError> {
    let answer = remote
        .call("list join tokens", |channel| async move {
            let request = ListJoinTokensRequest {};
            JoinServiceClient::new(channel)
                .list_join_tokens(request)
                .await
        })
        .await?;
    if args.output == Format::Json {
        let tokens = answer.tokens.iter();
        let tokens = tokens.map(|token| json::value("edgeio.api.v1.JoinToken", token));
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        return context
            .out
            .result(&json::pretty(&json!({ "tokens": tokens })));
    }
    if answer.tokens.is_empty() {
        context
            .out
            .note("no join tokens: `edgeio token create` makes one");
        return Ok(());
    }
    let rows: Vec<_> = answer.tokens.iter().map(row).collect();
    let headings = ["ID", "KIND", "NAMES", "USES", "STATE", "AGE", "MADE BY"];
    context.out.result(&table(&headings, &rows))
}

fn row(token: &JoinToken) -> Vec<String> {
    vec![
        token.id.clone(),
        token.kind.clone(),
        dash(&token.names),
        format!("{}/{}", token.uses, token.max_uses),
        state(token).to_owned(),
        age(token.created_at.as_ref()),
        token.creator.clone(),
    ]
}

/// Why a token is worth nothing, if it is.
fn state(token: &JoinToken) -> &'static str {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    if token.revoked_at.is_some() {
        "Revoked"
    } else if token.expires_at.is_some_and(|at| at.seconds <= now) {
        "Expired"
    } else if token.uses >= token.max_uses {
        "Used up"
    } else {
        "Good"
    }
}

async fn revoke(id: &str, context: &Context, remote: &Remote) -> Result<(), CliError> {
    remote
        .call(&format!("revoke join token `{id}`"), |channel| {
            let id = id.to_owned();
            async move {
                let request = RevokeJoinTokenRequest { id };
                JoinServiceClient::new(channel)
                    .revoke_join_token(request)
                    .await
            }
        })
        .await?;
    context.out.result(&format!(
        "join token {id}: revoked; who has joined with it stays"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_worth_nothing_says_why() {
        let good = JoinToken {
            max_uses: 1,
            expires_at: Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            }),
            ..JoinToken::default()
        };
        assert_eq!(state(&good), "Good");
        let used = JoinToken {
            uses: 1,
            ..good.clone()
        };
        assert_eq!(state(&used), "Used up");
        let expired = JoinToken {
            expires_at: Some(prost_types::Timestamp::default()),
            ..used.clone()
        };
        assert_eq!(state(&expired), "Expired");
        let revoked = JoinToken {
            revoked_at: Some(prost_types::Timestamp::default()),
            ..expired
        };
        assert_eq!(state(&revoked), "Revoked");
    }
}
