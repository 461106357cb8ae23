//! Arguments that several commands take.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use edgeio_client::{CaHash, Dialer, Proxy, Target, Trust};

/// Where the server is.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The root or cluster to ask, as HOST:PORT, or https://HOST:PORT with TLS
    #[arg(long, global = true, env = "EDGEIO_SERVER", value_name = "HOST:PORT")]
    #[arg(default_value = "127.0.0.1:10000", help_heading = "Server")]
    pub server: Target,

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

impl ServerArgs {
    /// How the server is reached.
    pub(crate) fn dialer(&self) -> Dialer {
        let trust = Trust::default().file(self.ca.clone()).hash(self.ca_hash);
        Dialer::new(trust, self.proxy.clone())
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
