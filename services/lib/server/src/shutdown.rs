//! The stop of a process: one token that everything awaits, fired by the first signal.
//!
//! The first SIGTERM or SIGINT asks for a graceful stop, the second ends the process at once with
//! 143 or 130. A token whose trigger is gone counts as fired: a lost trigger must not hang a stop.

use std::future::Future;
use std::io;

use futures::{Stream, StreamExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tonic::Status;

/// Fires a [`Shutdown`].
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Trigger {
    /// Asks everyone who holds the token to stop. Again has no effect.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

/// A cloneable token that says whether to stop.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A trigger and its token.
    #[must_use]
    pub fn new() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (Trigger(sender), Self(receiver))
    }

    /// Whether a stop was asked for.
    #[must_use]
    pub fn requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Ends when a stop is asked for; at once if it was. Cancel-safe, and not tied to `self`.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut receiver = self.0.clone();
        async move {
            // An error is a dropped trigger, which counts as fired.
            let _ = receiver.wait_for(|stop| *stop).await;
        }
    }

    /// A response stream that ends itself when a stop is asked for, with UNAVAILABLE and a hint to
    /// retry, so that the caller resumes elsewhere. Without it an open watch holds up every stop.
    pub fn end<S, T>(&self, stream: S) -> impl Stream<Item = Result<T, Status>> + Send + use<S, T>
    where
        S: Stream<Item = Result<T, Status>> + Send,
        T: Send,
    {
        let last = futures::stream::once(async { Err(crate::status::stopping()) });
        let stop = self.wait();
        // `select` style chaining: items until the stop, then one status; a stream that ends by
        // itself stays ended without that status.
        let mut stream = Box::pin(stream);
        let mut stop = Box::pin(stop);
        let mut last = Box::pin(last);
        let mut stopped = false;
        futures::stream::poll_fn(move |context| {
            if !stopped && stop.as_mut().poll(context).is_ready() {
                stopped = true;
            }
            if stopped {
                last.poll_next_unpin(context)
            } else {
                stream.poll_next_unpin(context)
            }
        })
    }
}

/// Installed signal handlers; make them before anything that takes long.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over SIGTERM and SIGINT. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Fires `trigger` on the first signal and ends the process on the second. Spawn it: it never
    /// returns.
    pub async fn drive(mut self, trigger: Trigger) {
        let first = self.next().await;
        tracing::info!(
            signal = first.name,
            "stopping gracefully; a second signal stops at once"
        );
        trigger.fire();
        let second = self.next().await;
        tracing::warn!(signal = second.name, "stopped at once by a second signal");
        std::process::exit(second.exit_code);
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received { name: "SIGTERM", exit_code: 128 + 15 },
            _ = self.interrupt.recv() => Received { name: "SIGINT", exit_code: 128 + 2 },
        }
    }
}

struct Received {
    name: &'static str,
    /// 128 and the signal's number, as shells report a death by signal.
    exit_code: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_the_trigger_once_and_for_ever() {
        let (trigger, token) = Shutdown::new();
        let other = token.clone();
        assert!(!token.requested());
        let waiting = tokio::spawn(other.wait());
        trigger.fire();
        trigger.fire();
        waiting.await.unwrap();
        token.wait().await;
        assert!(other.requested());
    }

    #[tokio::test]
    async fn a_lost_trigger_counts_as_fired() {
        let (trigger, token) = Shutdown::new();
        drop(trigger);
        token.wait().await;
        assert!(token.requested());
    }

    #[tokio::test]
    async fn a_stream_ends_itself_with_a_status() {
        let (trigger, token) = Shutdown::new();
        let endless = futures::stream::iter([Ok(1), Ok(2)]).chain(futures::stream::pending());
        let mut stream = Box::pin(token.end(endless));
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        assert_eq!(stream.next().await.unwrap().unwrap(), 2);
        trigger.fire();
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_ends_stays_ended() {
        let (_trigger, token) = Shutdown::new();
        let items: Vec<_> = token
            .end(futures::stream::iter([Ok::<_, Status>(1)]))
            .collect()
            .await;
        assert_eq!(items.len(), 1);
    }
}
