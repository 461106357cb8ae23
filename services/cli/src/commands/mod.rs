//! One file a command: its arguments, what it calls, what it shows.

mod access;
pub(crate) mod apply;
pub(crate) mod approve;
pub(crate) mod audit;
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
pub(crate) mod login;
pub(crate) mod namespace;
pub(crate) mod release;
pub(crate) mod scale;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod version;
mod wait;
pub(crate) mod watch;
pub(crate) mod whoami;

use std::path::PathBuf;

use edgeio_client::{Dialer, Target};

use crate::{
    args::{Cli, Command},
    error::CliError,
    output::Out,
    remote::Remote,
    session::{Logins, Token},
};

/// What every command is given.
pub(crate) struct Context {
    /// Where to send the call.
    pub(crate) server: Target,
    /// How it is reached.
    pub(crate) dialer: Dialer,
    /// From the command line.
    pub(crate) given_token: Option<Token>,
    /// To call with.
    pub(crate) token: Option<Token>,
    /// What the server's authority is known by.
    pub(crate) ca_hash: Option<String>,
    /// The authorities to believe.
    pub(crate) ca: Option<PathBuf>,
    /// Where to write.
    pub(crate) out: Out,
}

impl Context {
    async fn connect(&self) -> Result<Remote, CliError> {
        Remote::connect(&self.server, &self.dialer, self.token.as_ref()).await
    }
}

pub(crate) async fn run(cli: Cli, out: Out) -> Result<(), CliError> {
    let logins = if cli.command.is_offline() {
        Logins::default()
    } else {
        Logins::load()?
    };
    let chosen = cli.server.choose(&logins)?;
    let context = Context {
        server: chosen.server,
        dialer: chosen.dialer,
        given_token: chosen.given_token,
        token: chosen.token,
        ca_hash: chosen.ca_hash.map(|hash| hash.to_string()),
        ca: chosen.ca,
        out,
    };
    match cli.command {
        Command::Apply(args) => apply::run(args, &context).await,
        Command::Get(args) => get::run(args, &context).await,
        Command::Describe(args) => describe::run(args, &context).await,
        Command::Scale(args) => scale::run(args, &context).await,
        Command::Delete(args) => delete::run(args, &context).await,
        Command::Approve(args) => approve::run(args, &context).await,
        Command::Release(args) => release::run(args, &context).await,
        Command::Fence(args) => fence::run(args, &context).await,
        Command::Forget(args) => forget::run(args, &context).await,
        Command::Hold(args) => hold::run(args, &context).await,
        Command::Login(args) => login::run(args, &context).await,
        Command::Logout(args) => login::logout(args, &context),
        Command::Whoami(args) => whoami::run(args, &context).await,
        Command::User(args) => user::run(args, &context).await,
        Command::Namespace(args) => namespace::run(args, &context).await,
        Command::Audit(args) => audit::run(args, &context).await,
        Command::Token(args) => token::run(args, &context).await,
        Command::Watch(args) => watch::run(args, &context).await,
        #[cfg(feature = "dev")]
        Command::Dev(args) => dev::run(args, &context).await,
        Command::Version(args) => version::run(args, &context),
        Command::Completion(args) => completion::run(args, &context),
    }
}
