//! Arguments that several commands take.

use std::time::Duration;

use clap::{Args, ValueEnum};
use edgeio_client::Target;

/// Where the server is.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The root or cluster to ask, as HOST:PORT
    #[arg(long, global = true, env = "EDGEIO_SERVER", value_name = "HOST:PORT")]
    #[arg(default_value = "127.0.0.1:10000", help_heading = "Server")]
    pub server: Target,
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
