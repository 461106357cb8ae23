//! Repeats calls that may be repeated.
//!
//! UNAVAILABLE says nothing of whether the call had its effect: the server may have committed and
//! died before it answered. So only reads and calls with a request id are repeated here.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::backoff::{Backoff, BackoffPolicy};

/// Why a call may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It changes nothing.
    Read,
    /// It carries this request id: however often it arrives, it has one effect.
    RequestId,
    /// It may not.
    Never,
}

/// Makes a call until it is answered, for `patience` at most. Between attempts it pauses by full
/// jitter, or for as long as the server says.
///
/// # Errors
/// The last status: at once if a repetition cannot help, else when `patience` is used up.
pub async fn retry<T, F, Fut>(repeat: Repeat, patience: Duration, mut call: F) -> Result<T, Status>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Status>>,
{
    let deadline = Instant::now() + patience;
    // A person or a script waits for one call: pauses stay below what a tool seems hung at.
    let cap = Duration::from_secs(3);
    let mut backoff = Backoff::new(BackoffPolicy {
        cap,
        ..BackoffPolicy::default()
    });
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        if repeat == Repeat::Never || !is_transient(&status) {
            return Err(status);
        }
        let pause = asked_pause(&status).unwrap_or_else(|| backoff.pause(Duration::ZERO));
        if Instant::now() + pause >= deadline {
            return Err(status);
        }
        tracing::debug!(code = ?status.code(), pause_ms = pause.as_millis(), "call is repeated");
        tokio::time::sleep(pause).await;
    }
}

/// The pause that the server asks for, if it does.
pub(crate) fn asked_pause(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Whether the same call may work later. Says nothing of whether it may be repeated: see [`Repeat`].
#[must_use]
pub fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // A server that is full says so with a pause; without one it is a quota.
        Code::ResourceExhausted => asked_pause(status).is_some(),
        // A connection lost in the middle of a call comes as one of these, from our own transport.
        Code::Unknown | Code::Internal | Code::Cancelled => is_transport(status),
        _ => false,
    }
}

/// Whether the server only asks to come again on another connection, since the one of this stream is old: nothing is wrong, and
/// whoever comes again at once finds all as it was.
#[must_use]
pub fn is_connection_old(status: &Status) -> bool {
    let info = status.get_details_error_info();
    status.code() == Code::Unavailable && info.is_some_and(|info| info.reason == "CONNECTION_OLD")
}

/// Whether a status was made by our own transport rather than sent by a server.
pub(crate) fn is_transport(status: &Status) -> bool {
    // The end of our own patience comes through the transport too; it says nothing of the path.
    let ours = |error: &(dyn Error + 'static)| {
        error.is::<tonic::transport::Error>()
            || error.is::<hyper::Error>()
            || error.is::<std::io::Error>()
    };
    !is_timeout(status) && sources(status).any(ours)
}

/// Whether the caller's own deadline ended the call.
pub(crate) fn is_timeout(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || sources(status).any(|error| error.is::<tonic::TimeoutExpired>())
}

fn sources(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = status.source();
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tonic_types::ErrorDetails;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn attempts(repeat: Repeat, status: Status, succeed_at: u32) -> (u32, bool) {
        let count = Cell::new(0);
        let outcome = retry(repeat, PATIENCE, || {
            count.set(count.get() + 1);
            let answer = if count.get() == succeed_at {
                Ok(())
            } else {
                Err(status.clone())
            };
            async move { answer }
        })
        .await;
        (count.get(), outcome.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn safe_calls_are_repeated_until_answered() {
        let away = || Status::unavailable("away");
        assert_eq!(attempts(Repeat::Read, away(), 3).await, (3, true));
        assert_eq!(attempts(Repeat::RequestId, away(), 3).await, (3, true));
        assert_eq!(attempts(Repeat::Never, away(), 3).await, (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_repetition_cannot_cure_is_not_repeated() {
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::Aborted,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Unknown,
            Code::ResourceExhausted,
            Code::Unauthenticated,
        ] {
            let refused = Status::new(code, "no");
            assert_eq!(
                attempts(Repeat::Read, refused, 2).await,
                (1, false),
                "{code:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let begun = Instant::now();
        let (count, answered) = attempts(Repeat::Read, Status::unavailable("away"), u32::MAX).await;
        assert!(count > 3 && !answered, "{count}");
        assert!(begun.elapsed() <= PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_the_server_asks_for_is_kept() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(Duration::from_secs(4)));
        let full = Status::with_error_details(Code::ResourceExhausted, "full", details);
        let begun = Instant::now();
        assert_eq!(attempts(Repeat::Read, full, 3).await, (3, true));
        assert_eq!(begun.elapsed().as_secs(), 8);
    }
}
