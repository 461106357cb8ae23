//! What the commands about users, namespaces and the audit share.

use std::time::{Duration, UNIX_EPOCH};

use tonic::{Response, Status};

use crate::{
    error::CliError,
    remote::{Remote, Wire},
};

/// All items of a list. `ask` answers a page and the token of the next one.
pub(crate) async fn all_pages<T, F>(
    remote: &Remote,
    attempt: &str,
    ask: impl Fn(Wire, String) -> F,
) -> Result<Vec<T>, CliError>
where
    F: Future<Output = Result<Response<(Vec<T>, String)>, Status>>,
{
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (items, next) = remote
            .call(attempt, |channel| ask(channel, token.clone()))
            .await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

/// A point in time in UTC, to the second; a dash if there is none.
pub(crate) fn when(at: Option<&prost_types::Timestamp>) -> String {
    let seconds = at.and_then(|at| u64::try_from(at.seconds).ok());
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| {
            let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(253_402_300_799)));
            at.map_or_else(
                || "-".to_owned(),
                |at| humantime::format_rfc3339_seconds(at).to_string(),
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        let at = prost_types::Timestamp {
            seconds: 1_800_000_000,
            nanos: 5,
        };
        assert_eq!(when(Some(&at)), "2027-01-15T08:00:00Z");
        assert_eq!(when(None), "-");
        let late = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(when(Some(&late)), "9999-12-31T23:59:59Z");
    }
}
