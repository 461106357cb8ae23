//! `edgeio completion`: scripts that complete commands in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Context;
use crate::{args::Cli, error::CliError};

const AFTER_HELP: &str = "\
Examples:
  edgeio completion bash > /etc/bash_completion.d/edgeio
  edgeio completion zsh > \"${fpath[1]}/_edgeio\"
  edgeio completion fish > ~/.config/fish/completions/edgeio.fish";

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "edgeio", &mut script);
    context.out.result(&String::from_utf8_lossy(&script))
}
