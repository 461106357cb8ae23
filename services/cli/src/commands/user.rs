//! `edgeio user`: who may use a server, with which roles and tokens.

use std::time::Duration;

use edgeio_proto::api::v1::{self as api, UserToken, access_service_client::AccessServiceClient};

use super::{
    Context,
    access::{all_pages, when},
    whoami::roles,
};
use crate::{
    args::{Format, FormatArgs},
    error::CliError,
    output::{json, table::table},
    remote::request_id,
};

const AFTER_HELP: &str = "\
A user may do nothing before it is bound to a role: viewer, deployer, namespace-admin in a namespace or in all; operator and admin in all.

Examples:
  edgeio user create ann
  edgeio user bind ann deployer -n shop
  edgeio user token create ann --for 30d > ann.token     the secret is shown once and never again
  edgeio user token list ann
  edgeio user token revoke 4h2k...";

/// Manage users, their roles and their tokens.
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
    /// Make a user
    Create(Named),
    /// List users with their roles
    List(FormatArgs),
    /// Remove a user and its tokens
    Delete(Named),
    /// Give a user a role
    Bind(Binding),
    /// Take a role from a user
    Unbind(Binding),
    /// Make, list or revoke tokens
    Token(TokenArgs),
}

/// Which user.
#[derive(Debug, clap::Args)]
pub struct Named {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// A role of a user.
#[derive(Debug, clap::Args)]
pub struct Binding {
    /// The user
    #[arg(value_name = "USER")]
    pub user: String,
    /// viewer, deployer, namespace-admin, operator or admin
    #[arg(value_name = "ROLE")]
    pub role: String,
    /// In this namespace
    #[arg(
        short = 'n',
        long,
        value_name = "NAME",
        required_unless_present = "all_namespaces"
    )]
    pub namespace: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

/// Tokens.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: TokenWhat,
}

/// What can be done with tokens.
#[derive(Debug, clap::Subcommand)]
pub enum TokenWhat {
    /// Make a token; its secret is the result and is never shown again
    Create(CreateToken),
    /// List tokens without their secrets
    List(ListTokens),
    /// Make a token worthless at once
    Revoke(RevokeToken),
}

/// A new token.
#[derive(Debug, clap::Args)]
pub struct CreateToken {
    /// Whose
    #[arg(value_name = "USER")]
    pub user: String,
    /// For how long it is good, such as 12h or 90d; 366d at most
    #[arg(long = "for", value_name = "TIME", default_value = "30d")]
    #[arg(value_parser = humantime::parse_duration)]
    pub lifetime: Duration,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Whose tokens.
#[derive(Debug, clap::Args)]
pub struct ListTokens {
    /// Whose; your own without it, or all if you may do everything
    #[arg(value_name = "USER", default_value = "")]
    pub user: String,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Which token.
#[derive(Debug, clap::Args)]
pub struct RevokeToken {
    /// Its id, as `edgeio user token list` tells it
    #[arg(value_name = "ID")]
    pub id: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    match args.what {
        What::Create(named) => create(&named.name, context).await,
        What::List(format) => list(&format, context).await,
        What::Delete(named) => delete(&named.name, context).await,
        What::Bind(binding) => bind(&binding, context).await,
        What::Unbind(binding) => unbind(&binding, context).await,
        What::Token(args) => match args.what {
            TokenWhat::Create(token) => create_token(&token, context).await,
            TokenWhat::List(tokens) => list_tokens(&tokens, context).await,
            TokenWhat::Revoke(token) => revoke_token(&token.id, context).await,
        },
    }
}

async fn create(name: &str, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let request = api::CreateUserRequest {
        name: name.to_owned(),
        request_id: request_id(),
    };
    remote
        .call(&format!("create user `{name}`"), |channel| {
            let request = request.clone();
            async move { AccessServiceClient::new(channel).create_user(request).await }
        })
        .await?;
    context.out.result(&format!(
        "user {name} made; it may do nothing yet: give it a role with `edgeio user bind {name} ROLE -n NAMESPACE`"
    ))
}

async fn list(format: &FormatArgs, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let users = all_pages(&remote, "list users", |channel, page_token| async move {
        let request = api::ListUsersRequest {
            page_size: 0,
            page_token,
        };
        let answer = AccessServiceClient::new(channel)
            .list_users(request)
            .await?;
        Ok(answer.map(|page| (page.users, page.next_page_token)))
    })
    .await?;
    let text = match format.output {
        Format::Json => {
            let message = api::ListUsersResponse {
                users,
                ..Default::default()
            };
            json::pretty(&json::value("edgeio.api.v1.ListUsersResponse", &message)?)
        }
        Format::Table => {
            let row = |user: &api::User| vec![user.name.clone(), roles(&user.bindings)];
            let rows: Vec<_> = users.iter().map(row).collect();
            table(&["NAME", "ROLES"], &rows)
        }
    };
    context.out.result(&text)
}

async fn delete(name: &str, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let request = api::DeleteUserRequest {
        name: name.to_owned(),
        request_id: request_id(),
    };
    remote
        .call(&format!("delete user `{name}`"), |channel| {
            let request = request.clone();
            async move { AccessServiceClient::new(channel).delete_user(request).await }
        })
        .await?;
    context
        .out
        .result(&format!("user {name} removed with its tokens"))
}

fn asked(binding: &Binding) -> Option<api::RoleBinding> {
    Some(api::RoleBinding {
        namespace: binding.namespace.clone().unwrap_or_default(),
        role: binding.role.clone(),
    })
}

async fn bind(binding: &Binding, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let request = api::BindRequest {
        user: binding.user.clone(),
        binding: asked(binding),
        request_id: request_id(),
    };
    let answer = remote
        .call(&format!("bind user `{}`", binding.user), |channel| {
            let request = request.clone();
            async move { AccessServiceClient::new(channel).bind(request).await }
        })
        .await?;
    say_roles(&binding.user, answer.user, context)
}

async fn unbind(binding: &Binding, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let request = api::UnbindRequest {
        user: binding.user.clone(),
        binding: asked(binding),
        request_id: request_id(),
    };
    let answer = remote
        .call(&format!("unbind user `{}`", binding.user), |channel| {
            let request = request.clone();
            async move { AccessServiceClient::new(channel).unbind(request).await }
        })
        .await?;
    say_roles(&binding.user, answer.user, context)
}

fn say_roles(name: &str, user: Option<api::User>, context: &Context) -> Result<(), CliError> {
    let bindings = user.unwrap_or_default().bindings;
    context.out.result(&format!("{name}: {}", roles(&bindings)))
}

async fn create_token(token: &CreateToken, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let request = api::CreateUserTokenRequest {
        user: token.user.clone(),
        note: token.note.clone(),
        lifetime_seconds: token.lifetime.as_secs().max(1),
    };
    // Once: a repetition would make a second one.
    let answer = remote
        .call_once(&format!("make a token for `{}`", token.user), |channel| {
            let request = request.clone();
            async move {
                AccessServiceClient::new(channel)
                    .create_user_token(request)
                    .await
            }
        })
        .await?;
    let made = answer.token.clone().unwrap_or_default();
    context.out.note(&format!(
        "token {} of {}, good until {}; this is the only time that it is shown",
        made.id,
        made.user,
        when(made.expires_at.as_ref())
    ));
    let text = match token.format.output {
        Format::Json => json::pretty(&json::value(
            "edgeio.api.v1.CreateUserTokenResponse",
            &answer,
        )?),
        Format::Table => crate::output::text::clean(&answer.secret),
    };
    context.out.result(&text)
}

async fn list_tokens(asked: &ListTokens, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let request = api::ListUserTokensRequest {
        user: asked.user.clone(),
    };
    let answer = remote
        .call("list tokens", |channel| {
            let request = request.clone();
            async move {
                AccessServiceClient::new(channel)
                    .list_user_tokens(request)
                    .await
            }
        })
        .await?;
    let text = match asked.format.output {
        Format::Json => json::pretty(&json::value(
            "edgeio.api.v1.ListUserTokensResponse",
            &answer,
        )?),
        Format::Table => {
            let row = |token: &UserToken| {
                let state = match (&token.revoked_at, &token.expires_at) {
                    (Some(at), _) => format!("revoked {}", when(Some(at))),
                    (None, Some(at)) => format!("until {}", when(Some(at))),
                    (None, None) => "for ever".to_owned(),
                };
                vec![
                    token.id.clone(),
                    token.user.clone(),
                    state,
                    when(token.last_used_at.as_ref()),
                    token.note.clone(),
                ]
            };
            let rows: Vec<_> = answer.tokens.iter().map(row).collect();
            table(&["ID", "USER", "GOOD", "LAST USED", "NOTE"], &rows)
        }
    };
    context.out.result(&text)
}

async fn revoke_token(id: &str, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let request = api::RevokeUserTokenRequest { id: id.to_owned() };
    remote
        .call(&format!("revoke token `{id}`"), |channel| {
            let request = request.clone();
            async move {
                AccessServiceClient::new(channel)
                    .revoke_user_token(request)
                    .await
            }
        })
        .await?;
    context.out.result(&format!("token {id} revoked"))
}
