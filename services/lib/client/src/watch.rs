//! A watch that outlives its connection: it resumes where it was, or begins again when the server
//! has forgotten that place.
//!
//! What a consumer sees is complete: changes in order, and [`WatchEvent::Restarted`] whenever all
//! that it knows must be replaced by what follows. A change may come twice after a resumption.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use edgeio_proto::{api, root};
use futures::{Stream, StreamExt as _};
use tokio::time::Instant;
use tonic::{Code, Response, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::backoff::Backoff;
use crate::retry::{asked_pause, is_connection_old, is_transient};

/// The reason of OUT_OF_RANGE when a token is older than what the server keeps.
const COMPACTED: &str = "REVISION_COMPACTED";

/// A message of a watch, which names the place after it.
pub trait Resumable {
    /// The opaque token that resumes after this message.
    fn token(&self) -> &str;
}

impl Resumable for api::v1::WatchResponse {
    fn token(&self) -> &str {
        &self.token
    }
}

impl Resumable for root::v1::WatchResponse {
    fn token(&self) -> &str {
        &self.token
    }
}

/// What happens in a watch.
#[derive(Debug, Clone)]
pub enum WatchEvent<M> {
    /// A message.
    Message(M),
    /// The connection is lost; the watch resumes by itself after the pause. For display.
    Interrupted {
        /// Why; `None` when the server ended the stream without a word.
        status: Option<Status>,
        /// Until the next attempt.
        pause: Duration,
    },
    /// The place is lost: forget all that this watch told. What exists follows.
    Restarted,
}

/// A stream that lived for less than this is not begun again at once, whatever the server says.
const STEADY: Duration = Duration::from_millis(100);

type Opening<M> = Pin<Box<dyn Future<Output = Result<M, Status>> + Send>>;

enum State<M> {
    /// Pause, then open.
    Waiting(Duration),
    Open {
        stream: Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>,
        since: Instant,
    },
    Over,
}

struct Watch<M, F> {
    open: F,
    token: String,
    backoff: Backoff,
    state: State<M>,
}

/// Watches until dropped or until an error that a resumption cannot cure, which is the last item.
///
/// `open` makes the call for a token; the empty one begins with what exists:
///
/// ```no_run
/// # use edgeio_client::{Backoff, Options, connect, resume};
/// # use edgeio_proto::api::v1::{WatchRequest, application_service_client::ApplicationServiceClient};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ApplicationServiceClient::new(connect(&"127.0.0.1:10000".parse()?, &Options::default())?);
/// let events = resume(String::new(), Backoff::default(), move |token| {
///     let mut client = client.clone();
///     async move { client.watch(WatchRequest { token, ..WatchRequest::default() }).await }
/// });
/// # drop(events);
/// # Ok(())
/// # }
/// ```
pub fn resume<M, F, Fut>(
    token: String,
    backoff: Backoff,
    mut open: F,
) -> impl Stream<Item = Result<WatchEvent<M>, Status>> + Send
where
    M: Resumable + Send + 'static,
    F: FnMut(String) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Response<Streaming<M>>, Status>> + Send + 'static,
{
    streams(token, backoff, move |token| {
        let opening = open(token);
        Box::pin(async move { Ok(opening.await?.into_inner().boxed()) }) as Opening<_>
    })
}

/// [`resume`] over any stream, which is what the tests need.
fn streams<M, S, F>(
    token: String,
    backoff: Backoff,
    open: F,
) -> impl Stream<Item = Result<WatchEvent<M>, Status>> + Send
where
    M: Resumable + Send + 'static,
    S: Stream<Item = Result<M, Status>> + Send + 'static,
    F: FnMut(String) -> Opening<S> + Send,
{
    let watch = Watch {
        open,
        token,
        backoff,
        state: State::Waiting(Duration::ZERO),
    };
    futures::stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((event, watch))
    })
}

impl<M, S, F> Watch<M, F>
where
    M: Resumable + Send + 'static,
    S: Stream<Item = Result<M, Status>> + Send + 'static,
    F: FnMut(String) -> Opening<S> + Send,
{
    async fn next(&mut self) -> Option<Result<WatchEvent<M>, Status>> {
        loop {
            match &mut self.state {
                State::Over => return None,
                State::Waiting(pause) => {
                    tokio::time::sleep(*pause).await;
                    match (self.open)(self.token.clone()).await {
                        Ok(stream) => {
                            let stream = Box::pin(stream);
                            self.state = State::Open {
                                stream,
                                since: Instant::now(),
                            };
                        }
                        Err(status) => return Some(self.ended(Some(status), Duration::ZERO)),
                    }
                }
                State::Open { stream, since } => match stream.next().await {
                    Some(Ok(message)) => {
                        message.token().clone_into(&mut self.token);
                        return Some(Ok(WatchEvent::Message(message)));
                    }
                    // Not worth a word to anybody. The next attempt pauses if it fails.
                    Some(Err(status)) if is_connection_old(&status) && since.elapsed() > STEADY => {
                        self.state = State::Waiting(Duration::ZERO);
                    }
                    Some(Err(status)) => {
                        let lived = since.elapsed();
                        return Some(self.ended(Some(status), lived));
                    }
                    None => {
                        let lived = since.elapsed();
                        return Some(self.ended(None, lived));
                    }
                },
            }
        }
    }

    fn ended(&mut self, status: Option<Status>, lived: Duration) -> Result<WatchEvent<M>, Status> {
        if let Some(status) = &status {
            if is_compacted(status) && !self.token.is_empty() {
                self.token.clear();
                // Paused all the same: a server that compacts at once must not be hammered.
                self.state = State::Waiting(self.backoff.pause(lived));
                return Ok(WatchEvent::Restarted);
            }
            if !is_transient(status) {
                self.state = State::Over;
                return Err(status.clone());
            }
        }
        let asked = status.as_ref().and_then(asked_pause);
        let pause = asked.unwrap_or_default().max(self.backoff.pause(lived));
        self.state = State::Waiting(pause);
        Ok(WatchEvent::Interrupted { status, pause })
    }
}

fn is_compacted(status: &Status) -> bool {
    status.code() == Code::OutOfRange
        && status
            .get_details_error_info()
            .is_some_and(|info| info.reason == COMPACTED)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};
    use std::sync::{Arc, Mutex};

    use futures::stream::BoxStream;
    use tonic_types::ErrorDetails;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Tick(&'static str);

    impl Resumable for Tick {
        fn token(&self) -> &str {
            self.0
        }
    }

    type Script = Vec<Result<Vec<Result<Tick, Status>>, Status>>;

    /// Plays one opening after the other; afterwards every opening is refused for good.
    async fn play(script: Script) -> (Vec<String>, Vec<String>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script = Mutex::new(VecDeque::from(script));
        let tokens = Arc::clone(&asked);
        let events = streams("start".to_owned(), Backoff::default(), move |token| {
            tokens.lock().unwrap().push(token);
            let opening = script.lock().unwrap().pop_front();
            Box::pin(async move {
                let items = opening.unwrap_or_else(|| Err(Status::permission_denied("enough")))?;
                Ok(futures::stream::iter(items).boxed() as BoxStream<'static, _>)
            })
        });
        let seen = events
            .map(|event| match event {
                Ok(WatchEvent::Message(Tick(token))) => token.to_owned(),
                Ok(WatchEvent::Interrupted { status, .. }) => {
                    format!("interrupted {:?}", status.map(|status| status.code()))
                }
                Ok(WatchEvent::Restarted) => "restarted".to_owned(),
                Err(status) => format!("over {:?}", status.code()),
            })
            .collect()
            .await;
        let asked = asked.lock().unwrap().clone();
        (asked, seen)
    }

    fn compacted() -> Status {
        let details = ErrorDetails::with_error_info(COMPACTED, "edgeio", HashMap::new());
        Status::with_error_details(Code::OutOfRange, "too old", details)
    }

    #[tokio::test(start_paused = true)]
    async fn resumes_after_the_last_message() {
        let (asked, seen) = play(vec![
            Ok(vec![
                Ok(Tick("a")),
                Ok(Tick("b")),
                Err(Status::unavailable("gone")),
            ]),
            Err(Status::unavailable("still gone")),
            Ok(vec![Ok(Tick("c"))]),
        ])
        .await;
        assert_eq!(asked, ["start", "b", "b", "c"]);
        assert_eq!(
            seen,
            [
                "a",
                "b",
                "interrupted Some(Unavailable)",
                "interrupted Some(Unavailable)",
                "c",
                "interrupted None",
                "over PermissionDenied",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn begins_again_when_the_place_is_compacted() {
        let (asked, seen) = play(vec![
            Err(compacted()),
            Ok(vec![Ok(Tick("x")), Err(compacted())]),
            Ok(vec![Ok(Tick("y"))]),
        ])
        .await;
        assert_eq!(asked, ["start", "", "", "y"]);
        assert_eq!(seen[..4], ["restarted", "x", "restarted", "y"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_connection_is_no_interruption() {
        let details = ErrorDetails::with_error_info("CONNECTION_OLD", "edgeio", HashMap::new());
        let old = Status::with_error_details(Code::Unavailable, "old", details);
        let ends_with = |token: &'static str| {
            let old = old.clone();
            let later = futures::stream::once(async move {
                tokio::time::sleep(STEADY * 2).await;
                Err(old)
            });
            futures::stream::iter([Ok(Tick(token))])
                .chain(later)
                .boxed()
        };
        let script = Mutex::new(VecDeque::from([ends_with("a"), ends_with("b")]));
        let events = streams("start".to_owned(), Backoff::default(), move |token| {
            let next = script.lock().unwrap().pop_front();
            Box::pin(async move { next.ok_or_else(|| Status::permission_denied(token)) })
                as Opening<BoxStream<'static, Result<Tick, Status>>>
        });
        let begun = Instant::now();
        let seen: Vec<String> = events.map(|event| format!("{event:?}")).collect().await;
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(seen[0].contains("Tick(\"a\")") && seen[1].contains("Tick(\"b\")"));
        assert!(seen[2].contains("PermissionDenied") && seen[2].contains("\"b\""));
        assert_eq!(begun.elapsed(), STEADY * 4, "no pause");
    }

    #[tokio::test(start_paused = true)]
    async fn another_position_error_is_final() {
        let (_, seen) = play(vec![Err(Status::out_of_range("no reason given"))]).await;
        assert_eq!(seen, ["over OutOfRange"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_compacted_beginning_is_final() {
        // The empty token has no place to lose: a server that says so is broken.
        let (asked, seen) = play(vec![Err(compacted()), Err(compacted())]).await;
        assert_eq!(asked, ["start", ""]);
        assert_eq!(seen, ["restarted", "over OutOfRange"]);
    }
}
