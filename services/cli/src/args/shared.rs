//! Arguments that several commands take.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use edgeio_client::{CaHash, Dialer, Proxy, Target, Trust};

use crate::{
    error::CliError,
    session::{Logins, Token, refuse_readable},
};

/// Where the server is.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The root or cluster to ask, as HOST:PORT, or https://HOST:PORT with TLS; without it that of the last `edgeio login`, else
    /// 127.0.0.1:10000
    #[arg(long, global = true, env = "EDGEIO_SERVER", value_name = "HOST:PORT")]
    #[arg(help_heading = "Server")]
    pub server: Option<Target>,

    /// A file that holds the token to call with, or `-` for standard input; without it that of `edgeio login`
    #[arg(
        long,
        global = true,
        env = "EDGEIO_TOKEN_FILE",
        value_name = "FILE",
        help_heading = "Server"
    )]
    pub token_file: Option<PathBuf>,

    /// With https://: a file of certificate authorities to believe, in PEM form; without it the system's are
    #[arg(
        long,
        global = true,
        env = "EDGEIO_CA",
        value_name = "FILE",
        help_heading = "Server"
    )]
    pub ca: Option<PathBuf>,

    /// With https://: the SHA-256 of the server's certificate authority, as its command `ca show` tells it
    #[arg(
        long,
        global = true,
        env = "EDGEIO_CA_HASH",
        value_name = "HASH",
        help_heading = "Server"
    )]
    pub ca_hash: Option<CaHash>,

    /// An HTTP proxy, as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, or `none`; without it `https_proxy` and `no_proxy`
    /// of the environment hold
    #[arg(
        long,
        global = true,
        env = "EDGEIO_PROXY",
        value_name = "URL",
        help_heading = "Server"
    )]
    #[arg(hide_env_values = true, default_value = "", hide_default_value = true)]
    pub proxy: Proxy,
}

/// Where a server is when none is named.
const DEFAULT_SERVER: &str = "127.0.0.1:10000";

/// A server, how it is reached, and as whom.
pub(crate) struct Chosen {
    pub(crate) server: Target,
    pub(crate) dialer: Dialer,
    /// From the command line.
    pub(crate) given_token: Option<Token>,
    /// To call with.
    pub(crate) token: Option<Token>,
    pub(crate) ca_hash: Option<CaHash>,
    pub(crate) ca: Option<PathBuf>,
}

impl ServerArgs {
    /// What is meant, given what `edgeio login` kept.
    pub(crate) fn choose(self, logins: &Logins) -> Result<Chosen, CliError> {
        let parse = |text: &str| {
            let parsed = text.parse::<Target>();
            parsed.map_err(|error| CliError::Usage(format!("the server `{text}`: {error}")))
        };
        let server = match (self.server, &logins.current) {
            (Some(server), _) => server,
            (None, Some(current)) => parse(current)?,
            (None, None) => parse(DEFAULT_SERVER)?,
        };
        let login = logins.of(&server);
        let given_token = self.token_file.as_deref().map(Token::read).transpose()?;
        let token = given_token
            .clone()
            .or_else(|| login.map(|login| login.token.clone()));
        if token.is_some() {
            refuse_readable(&server)?;
        }
        let kept_hash = login
            .and_then(|login| login.ca_hash.as_deref())
            .and_then(|hash| hash.parse().ok());
        let ca_hash = self.ca_hash.or(kept_hash);
        let ca = self.ca.or_else(|| login.and_then(|login| login.ca.clone()));
        let trust = Trust::default().file(ca.clone()).hash(ca_hash);
        Ok(Chosen {
            dialer: Dialer::new(trust, self.proxy),
            server,
            given_token,
            token,
            ca_hash,
            ca,
        })
    }
}

/// Which namespace is meant.
#[derive(Debug, Args)]
pub struct NamespaceArgs {
    /// The namespace
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
}

/// How a result is written.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// How to write the result; `json` is the protobuf JSON form
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,
}

/// A form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Whether to wait, and how long.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Follow it until it is done; exit with 1 if it fails or takes longer than the timeout. A replica counts once it was seen
    /// running or completed: a job that is meant to end (`restart: never` or `on-failure`) may still run then
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, such as 90s or 10m
    #[arg(long, requires = "wait", value_name = "TIME", default_value = "5m")]
    #[arg(value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}
