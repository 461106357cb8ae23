//! The `edgeio` command line.
//!
//! A reader's map: `args` says what can be typed, `commands` has one file a command, `manifest` reads what `apply` takes,
//! `remote` speaks to a server, `observe` keeps what a watch has told, `output` is everything that is written. What a server says is
//! cleaned of terminal control sequences before it is shown. What `edgeio login` keeps
//! between two runs is in `session`; there is no cache.

pub mod args;
mod commands;
mod error;
pub mod manifest;
mod observe;
mod output;
mod remote;
mod session;

use std::process::ExitCode;

use args::Cli;
pub use error::CliError;

/// Runs one command and answers the program's exit code: 0 done, 1 failed, 2 wrong usage or manifest, 3 server not reached.
pub fn main(cli: Cli) -> ExitCode {
    let out = output::Out::new();
    match run(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli, out: output::Out) -> Result<(), CliError> {
    let mut builder = if cli.command.is_busy() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|source| CliError::Failed(format!("start the program's runtime: {source}")))?;
    runtime.block_on(commands::run(cli, out))
}
