//! `edgeio version`: which program this is. No server is asked.

use serde_json::json;

use super::Context;
use crate::{
    args::{Format, FormatArgs},
    error::CliError,
    output::json,
};

/// Print the version.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub format: FormatArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    match args.format.output {
        Format::Table => context.out.result(&format!("edgeio {version}")),
        Format::Json => context
            .out
            .result(&json::pretty(&json!({ "client": version }))),
    }
}
