//! `edgeio login` and `edgeio logout`: keep a token for a server, and forget it.

use edgeio_client::Target;
use edgeio_proto::api::v1::{WhoAmIRequest, access_service_client::AccessServiceClient};

use super::{Context, whoami::describe};
use crate::{
    error::CliError,
    session::{Login, Logins, refuse_readable},
};

const LOGIN_HELP: &str = "\
The token is read from --token-file, or from standard input with `--token-file -`; it is no argument, since arguments can be seen by
others. It is tried before it is kept. Commands without --server then ask this server.

Examples:
  edgeio login --server https://root.example:10000 --token-file ann.token --ca-hash 3f...
  pass show edgeio | edgeio login --server https://root.example:10000 --token-file -";

/// Keep a token for a server.
#[derive(Debug, clap::Args)]
#[command(after_help = LOGIN_HELP)]
pub struct Args {}

/// Forget the token of a server; it stays valid until it is revoked.
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {}

pub(crate) async fn run(_: Args, context: &Context) -> Result<(), CliError> {
    let Some(token) = context.given_token.clone() else {
        return Err(CliError::Usage(
            "name the file that holds the token with --token-file, or `-` for standard input"
                .to_owned(),
        ));
    };
    refuse_readable(&context.server)?;
    let remote = context.connect().await?;
    let who = remote
        .call("log in", |channel| async move {
            AccessServiceClient::new(channel)
                .who_am_i(WhoAmIRequest {})
                .await
        })
        .await?;
    let mut logins = Logins::load()?;
    let url = context.server.url();
    let login = Login {
        token,
        ca_hash: context.ca_hash.clone(),
        ca: context.ca.clone(),
    };
    logins.servers.insert(url.clone(), login);
    logins.current = Some(url);
    let path = logins.save()?;
    context.out.note(&format!("kept in {}", path.display()));
    context.out.result(&format!(
        "logged in at {} as {}",
        context.server,
        describe(&who)
    ))
}

pub(crate) fn logout(_: LogoutArgs, context: &Context) -> Result<(), CliError> {
    let mut logins = Logins::load()?;
    let server: &Target = &context.server;
    let url = server.url();
    if logins.servers.remove(&url).is_none() {
        return Err(CliError::Failed(format!("there is no login for {server}")));
    }
    if logins.current.as_ref() == Some(&url) {
        logins.current = None;
    }
    logins.save()?;
    context.out.result(&format!("logged out of {server}"))
}
