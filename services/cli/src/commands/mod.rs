//! One file a command: its arguments, what it calls, what it shows.

pub(crate) mod apply;
mod child;
pub(crate) mod completion;
pub(crate) mod delete;
pub(crate) mod describe;
#[cfg(feature = "dev")]
pub(crate) mod dev;
pub(crate) mod fence;
pub(crate) mod forget;
pub(crate) mod get;
pub(crate) mod hold;
pub(crate) mod release;
pub(crate) mod scale;
pub(crate) mod version;
mod wait;
pub(crate) mod watch;

use edgeio_client::{Dialer, Target};

use crate::{
    args::{Cli, Command},
    error::CliError,
    output::Out,
    remote::Remote,
};

/// What every command is given.
pub(crate) struct Context {
    /// Where to send the call.
    pub(crate) server: Target,
    /// How it is reached.
    pub(crate) dialer: Dialer,
    /// Where to write.
    pub(crate) out: Out,
}

impl Context {
    async fn connect(&self) -> Result<Remote, CliError> {
        Remote::connect(&self.server, &self.dialer).await
    }
}

pub(crate) async fn run(cli: Cli, out: Out) -> Result<(), CliError> {
    let context = Context {
        dialer: cli.server.dialer(),
        server: cli.server.server,
        out,
    };
    match cli.command {
        Command::Apply(args) => apply::run(args, &context).await,
        Command::Get(args) => get::run(args, &context).await,
        Command::Describe(args) => describe::run(args, &context).await,
        Command::Scale(args) => scale::run(args, &context).await,
        Command::Delete(args) => delete::run(args, &context).await,
        Command::Release(args) => release::run(args, &context).await,
        Command::Fence(args) => fence::run(args, &context).await,
        Command::Forget(args) => forget::run(args, &context).await,
        Command::Hold(args) => hold::run(args, &context).await,
        Command::Watch(args) => watch::run(args, &context).await,
        #[cfg(feature = "dev")]
        Command::Dev(args) => dev::run(args, &context).await,
        Command::Version(args) => version::run(args, &context),
        Command::Completion(args) => completion::run(args, &context),
    }
}
