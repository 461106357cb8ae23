//! The worker's binary: a shim when asked to be one, else the agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = edgeio_worker::shim::dispatch(std::env::args_os()) {
        return code;
    }
    ExitCode::from(64)
}
