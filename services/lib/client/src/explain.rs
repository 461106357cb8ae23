//! A status as a person reads it: what is wrong, where, and what to do.

use std::error::Error;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::retry::{is_timeout, is_transport};

/// How a call failed, for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The caller must change what it asks.
    Usage,
    /// Nothing answered.
    Unreachable,
    /// The server answered that it did not work.
    Failed,
}

impl Failure {
    /// How this status failed.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        match status.code() {
            Code::InvalidArgument => Self::Usage,
            Code::Unavailable => Self::Unreachable,
            _ if is_transport(status) => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

/// The lines to show: first what is wrong, then each field, the remedy, and what the log needs.
/// Nothing in them can steer a terminal, whoever sent it.
#[must_use]
pub fn explain_status(status: &Status) -> Vec<String> {
    let mut lines = vec![headline(status)];
    let details = status.get_error_details();
    if let Some(request) = details.bad_request() {
        for field in &request.field_violations {
            lines.push(format!("  {}: {}", field.field, field.description));
        }
    }
    if let Some(remedy) = remedy(status) {
        lines.push(remedy.to_owned());
    }
    if let Some(pause) = details.retry_info().and_then(|info| info.retry_delay) {
        lines.push(format!("worth a retry in {:.1} s", pause.as_secs_f64()));
    }
    let mut tags = Vec::new();
    if let Some(info) = details.error_info() {
        tags.push(format!("reason {}", info.reason));
        let mut values: Vec<_> = info.metadata.iter().collect();
        values.sort();
        tags.extend(
            values
                .into_iter()
                .map(|(name, value)| format!("{name} {value}")),
        );
    }
    if let Some(id) = status
        .metadata()
        .get("x-request-id")
        .and_then(|id| id.to_str().ok())
    {
        tags.push(format!("request {id}"));
    }
    if !tags.is_empty() {
        lines.push(format!("({})", tags.join(", ")));
    }
    lines.iter().map(|line| printable(line)).collect()
}

fn headline(status: &Status) -> String {
    if is_timeout(status) {
        return "no answer in time".to_owned();
    }
    if !is_transport(status) {
        let message = status.message();
        return if message.is_empty() {
            status.code().description().to_owned()
        } else {
            message.to_owned()
        };
    }
    // The transport's own words begin with "transport error"; the cause is at the end.
    let mut cause: &dyn Error = status;
    while let Some(next) = cause.source() {
        cause = next;
    }
    format!("no answer from the server: {cause}")
}

fn remedy(status: &Status) -> Option<&'static str> {
    match status.code() {
        _ if is_transport(status) => Some("check that it runs, and the address that was given"),
        Code::Aborted => Some("it was changed meanwhile: read it again, then repeat the change"),
        _ if is_timeout(status) => {
            Some("whether it had an effect is not known: look, or repeat with the same request id")
        }
        Code::Unimplemented => Some("the server has no such call: are both of the same version?"),
        _ => None,
    }
}

/// A text without characters that steer a terminal: what a job prints or a server sends must not
/// recolour, rewrite or retitle what the user sees. Line feeds and tabs stay.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            // Besides controls, what changes the direction of text can make it read otherwise.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn fields_reason_retry_and_request_are_told() {
        let mut details = ErrorDetails::new();
        details.set_bad_request(vec![
            FieldViolation::new(
                "services[0].cpu",
                "`many` is no amount; write `500m` or `2`",
            ),
            FieldViolation::new("name", "is empty"),
        ]);
        let metadata = HashMap::from([("limit".to_owned(), "40".to_owned())]);
        details.set_error_info("SPEC_INVALID", "edgeio", metadata);
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let mut status = Status::with_error_details(Code::InvalidArgument, "apply `shop`", details);
        status
            .metadata_mut()
            .insert("x-request-id", "r-1".parse().unwrap());
        assert_eq!(
            explain_status(&status),
            [
                "apply `shop`",
                "  services[0].cpu: `many` is no amount; write `500m` or `2`",
                "  name: is empty",
                "worth a retry in 1.5 s",
                "(reason SPEC_INVALID, limit 40, request r-1)",
            ]
        );
        assert_eq!(Failure::of(&status), Failure::Usage);
    }

    #[test]
    fn a_bare_status_is_one_line() {
        assert_eq!(
            explain_status(&Status::not_found("find `shop`")),
            ["find `shop`"]
        );
        assert_eq!(explain_status(&Status::new(Code::NotFound, "")).len(), 1);
        assert_eq!(Failure::of(&Status::not_found("x")), Failure::Failed);
    }

    #[test]
    fn a_conflict_tells_what_to_do() {
        let lines = explain_status(&Status::aborted("scale `shop`"));
        assert!(lines[1].contains("read it again"), "{lines:?}");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let lines = explain_status(&Status::internal(
            "red \u{1b}[31m bell \u{7} back \u{202e}x",
        ));
        assert_eq!(lines, ["red \u{fffd}[31m bell \u{fffd} back \u{fffd}x"]);
        assert_eq!(printable("a\tb\nc\r"), "a\tb\nc\u{fffd}");
    }
}
