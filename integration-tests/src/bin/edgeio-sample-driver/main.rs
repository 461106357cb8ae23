//! A driver of a runtime that is not built in, as small as one can be: native processes, served to a worker on a Unix socket. See
//! services/worker/DRIVERS.md.

mod driver;

use std::process::ExitCode;

use clap::Parser as _;
use edgeio_worker::shim;

fn main() -> anyhow::Result<ExitCode> {
    // Each job has a keeper: this program again, which outlives the driver.
    if let Some(code) = shim::dispatch(std::env::args_os()) {
        return Ok(code);
    }
    driver::run(driver::Options::parse())?;
    Ok(ExitCode::SUCCESS)
}
