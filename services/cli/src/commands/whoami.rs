//! `edgeio whoami`: as whom the server knows the caller.

use edgeio_proto::api::v1::{
    RoleBinding, WhoAmIRequest, WhoAmIResponse, access_service_client::AccessServiceClient,
};

use super::Context;
use crate::{
    args::{Format, FormatArgs},
    error::CliError,
    output::json,
};

/// Tell as whom the server knows you, and what you may do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub format: FormatArgs,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let remote = context.connect().await?;
    let who = remote
        .call("ask who I am", |channel| async move {
            AccessServiceClient::new(channel)
                .who_am_i(WhoAmIRequest {})
                .await
        })
        .await?;
    let text = match args.format.output {
        Format::Json => json::pretty(&json::value("edgeio.api.v1.WhoAmIResponse", &who)?),
        Format::Table => describe(&who),
    };
    context.out.result(&text)
}

/// Who somebody is, in a line.
pub(crate) fn describe(who: &WhoAmIResponse) -> String {
    let name = crate::output::text::clean(&who.name);
    format!(
        "{} {name} (by {}): {}",
        who.kind,
        who.method,
        roles(&who.bindings)
    )
}

/// Roles in a phrase.
pub(crate) fn roles(bindings: &[RoleBinding]) -> String {
    if bindings.is_empty() {
        return "no role".to_owned();
    }
    let of = |binding: &RoleBinding| {
        let place = match binding.namespace.as_str() {
            "" => "everywhere".to_owned(),
            name => format!("in {name}"),
        };
        format!("{} {place}", binding.role)
    };
    bindings.iter().map(of).collect::<Vec<_>>().join(", ")
}
