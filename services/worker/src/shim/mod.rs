//! The supervisor of one native job: the worker binary, executed again as `<binary> shim <directory>`.
//!
//! The agent may die and come back; the shim stays, holds the job's output, and writes down how the job ended. It is its own
//! session, so nothing that happens to the agent's terminal or group reaches it, and it is the reaper of whatever the job leaves
//! behind. Whoever runs the process runtime must call [`dispatch`] first thing in `main`.
//!
//! The two talk through the instance's directory (see [`files`]): a lock that the shim holds while it lives, records that are replaced
//! atomically, and a FIFO for requests to stop. If the shim itself is killed, the kernel kills the job with it
//! (`PR_SET_PDEATHSIG`): a job that nobody watches would end unseen, and could run beside its substitute.
//!
//! Deliberately absent: tokio (a hundred shims must cost little), and any decision: when to restart is the agent's.

pub mod confine;
pub mod files;
pub mod output;
pub mod proc;
mod supervise;
mod timer;
mod tree;
mod view;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

pub use tree::Tree;

/// The first argument that makes a binary a shim.
pub const ARGUMENT: &str = "shim";

/// Runs the shim if the arguments (program name first) ask for one, and returns its exit code; `None` means go on with `main`.
pub fn dispatch(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if args.nth(1)? != ARGUMENT {
        return None;
    }
    let Some(dir) = args.next() else {
        return Some(ExitCode::from(64));
    };
    Some(supervise::run(&PathBuf::from(dir)))
}
