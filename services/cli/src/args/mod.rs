//! What can be typed. Each command's own arguments stand beside its code in `commands`.

mod shared;

use clap::{Parser, Subcommand};

use crate::commands::{
    apply, approve, audit, completion, delete, describe, fence, forget, get, hold, login,
    namespace, release, scale, token, user, version, watch, whoami,
};
pub use shared::{Format, FormatArgs, NamespaceArgs, ServerArgs, WaitArgs};

const AFTER_HELP: &str = "\
Examples:
  edgeio apply -f hello.yaml --wait     deploy an application and follow it until it runs
  edgeio get apps                       what is deployed and whether it runs
  edgeio describe app hello             why something does not run
  edgeio scale hello --replicas 5       run more or fewer of it
  edgeio delete hello --wait            stop it everywhere

The same commands work at the root and at a cluster; `--server` or EDGEIO_SERVER says which. \
Every call can be made with grpcurl as well: `grpcurl -plaintext 127.0.0.1:10000 list`.

Exit codes: 0 done, 1 failed, 2 wrong usage or manifest, 3 server not reached.";

/// Deploys applications to edge clusters and tells what becomes of them.
#[derive(Debug, Parser)]
#[command(name = "edgeio", version, about = "Deploys applications to edge clusters and tells what becomes of them.", after_help = AFTER_HELP, max_term_width = 110)]
pub struct Cli {
    /// Where to send the call.
    #[command(flatten)]
    pub server: ServerArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Command {
    /// Whether it asks no server, so that a login does not matter.
    pub(crate) fn is_offline(&self) -> bool {
        match self {
            #[cfg(feature = "dev")]
            Self::Dev(_) => true,
            Self::Version(_) | Self::Completion(_) => true,
            _ => false,
        }
    }

    /// Whether it runs servers and jobs, and not only a few calls.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            #[cfg(feature = "dev")]
            Self::Dev(_) => true,
            _ => false,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or change applications from a manifest.
    Apply(apply::Args),
    /// List applications, services, instances, clusters, workers, or what is held.
    Get(get::Args),
    /// Show one application, instance, worker or cluster in full, with reasons.
    Describe(describe::Args),
    /// Set how many replicas of a service run.
    Scale(scale::Args),
    /// Delete an application.
    Delete(delete::Args),
    /// Give a worker that was set up anew the name that it had.
    Approve(approve::Args),
    /// Have what a silent worker or cluster runs replaced, without waiting for evidence.
    Release(release::Args),
    /// Declare a silent worker or cluster lost: what it runs is replaced, exclusive services too.
    Fence(fence::Args),
    /// Remove a worker or cluster that will not come back.
    Forget(forget::Args),
    /// Decide on what runs though nobody asks for it.
    Hold(hold::Args),
    /// Keep a token for a server.
    Login(login::Args),
    /// Forget the token of a server.
    Logout(login::LogoutArgs),
    /// Tell as whom the server knows you.
    Whoami(whoami::Args),
    /// Manage users, their roles and their tokens.
    User(user::Args),
    /// Manage namespaces and the most that each may ask for.
    Namespace(namespace::Args),
    /// List or verify the record of who did what.
    Audit(audit::Args),
    /// Make, list and revoke join tokens: by them clusters join a root, and workers a cluster.
    Token(token::Args),
    /// Print changes as they happen.
    Watch(watch::Args),
    /// Run everything on this machine, for trying out and developing.
    #[cfg(feature = "dev")]
    Dev(crate::commands::dev::Args),
    /// Print the version.
    Version(version::Args),
    /// Print a completion script for a shell.
    Completion(completion::Args),
}
