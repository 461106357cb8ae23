//! The simulator as a program: many schedules of the production loops under virtual time, each from its seed.

mod command;
mod options;

use std::process::ExitCode;

use anyhow::Result;

fn main() -> Result<ExitCode> {
    command::run()
}
