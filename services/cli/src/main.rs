//! The `edgeio` program: parses the command line, runs the command, and exits with its code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Native jobs of `edgeio dev` run under this program, executed again.
    #[cfg(feature = "dev")]
    if let Some(code) = edgeio_worker::shim::dispatch(std::env::args_os()) {
        return code;
    }
    edgeio_cli::main(edgeio_cli::args::Cli::parse())
}
