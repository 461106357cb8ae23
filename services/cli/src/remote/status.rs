//! What a status means to a person, and what to do about it.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{args::ServerAddress, error::CliError};

/// No connection to the server.
pub(super) fn unreachable(server: &ServerAddress, why: &str) -> CliError {
    CliError::Unreachable(format!(
        "cannot reach {server}: {why}\n\
         check that it runs there, or name another with --server HOST:PORT or EDGEIO_SERVER \
         (`edgeio get clusters` asks a root, port 10000; `edgeio get workers` a cluster, port 10100)"
    ))
}

/// The causes of an error, outermost first, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.iter().any(|seen| seen.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// Turns a status into a failure with its details and a remedy.
pub(super) fn explain(attempt: &str, server: &ServerAddress, status: &Status) -> CliError {
    if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) {
        return unreachable(server, &format!("{attempt}: {}", status.message()));
    }
    let details = status.get_error_details();
    let mut lines = vec![format!("{attempt}: {}", status.message())];
    if let Some(bad) = details.bad_request() {
        // The paths are the message: a summary above them would only repeat them.
        lines = vec![format!("{attempt}: the server found it invalid")];
        lines.extend(
            bad.field_violations
                .iter()
                .map(|v| format!("  {}: {}", v.field, v.description)),
        );
    }
    if let Some(precondition) = details.precondition_failure() {
        lines.extend(
            precondition
                .violations
                .iter()
                .map(|v| format!("  {}: {}", v.subject, v.description)),
        );
    }
    if let Some(wait) = details.retry_info().and_then(|info| info.retry_delay) {
        lines.push(format!("try again in {wait:?}"));
    }
    let remedy = match status.code() {
        Code::NotFound => Some("see what exists with `edgeio get`"),
        Code::Unimplemented => Some(
            "this server does not serve that call: a root or cluster of another version, or another program?",
        ),
        Code::Unauthenticated => Some("the server wants to know who asks"),
        Code::Aborted => Some("it was changed meanwhile: look at it and try again"),
        Code::Internal | Code::Unknown => Some("the server's log says more"),
        _ => None,
    };
    lines.extend(remedy.map(str::to_owned));
    let text = lines.join("\n");
    match status.code() {
        Code::InvalidArgument => CliError::Invalid(text),
        _ => CliError::Failed(text),
    }
}
