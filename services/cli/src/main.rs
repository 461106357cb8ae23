//! The `edgeio` program: parses the command line, runs the command, and exits with its code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    edgeio_cli::main(edgeio_cli::args::Cli::parse())
}
