//! A watch that survives the loss of its connection.
//!
//! Each message carries a token; after a break the watch goes on behind the last one. A token that the server no longer knows means that
//! the history is gone: the watch begins again with what exists, and says so, since what was seen before may be gone meanwhile.

use std::time::Duration;

use edgeio_proto::api::v1::{
    WatchRequest, WatchResponse, application_service_client::ApplicationServiceClient,
    watch_response::Change,
};
use tonic::{Code, Status, Streaming};

use super::Remote;
use crate::error::CliError;

/// Longest wait between two attempts: short enough for a person who looks on.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// A message, and what changed in it.
    Change(WatchResponse),
    /// The stream begins again with what exists: forget what was seen.
    Restarted,
    /// The connection was lost; the next call tries to get it back.
    Interrupted(String),
}

/// A watch.
pub(crate) struct Follow {
    remote: Remote,
    request: WatchRequest,
    stream: Option<Streaming<WatchResponse>>,
    failures: u32,
}

impl Follow {
    /// A watch on one application, or on all with an empty name.
    pub(crate) fn new(remote: Remote, namespace: &str, application: &str) -> Self {
        let request = WatchRequest {
            namespace: namespace.to_owned(),
            application: application.to_owned(),
            token: String::new(),
        };
        Self {
            remote,
            request,
            stream: None,
            failures: 0,
        }
    }

    /// The next thing. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Told, CliError> {
        loop {
            let Some(stream) = &mut self.stream else {
                if let Some(told) = self.open().await? {
                    return Ok(told);
                }
                continue;
            };
            let status = match stream.message().await {
                Ok(Some(message)) => {
                    self.failures = 0;
                    if !message.token.is_empty() {
                        self.request.token.clone_from(&message.token);
                    }
                    // A server newer than this program may tell of things that this one does not know.
                    match message.change {
                        Some(_) => return Ok(Told::Change(message)),
                        None => continue,
                    }
                }
                Ok(None) => Status::unavailable("the server ended the stream"),
                Err(status) => status,
            };
            self.stream = None;
            return self.lost(&status);
        }
    }

    async fn open(&mut self) -> Result<Option<Told>, CliError> {
        if self.failures > 0 {
            let wait = Duration::from_millis(100 << self.failures.min(6)).min(LONGEST_WAIT);
            tokio::time::sleep(wait).await;
        }
        let request = self.request.clone();
        let opened = self
            .remote
            .try_call(|channel| {
                let request = request.clone();
                async move { ApplicationServiceClient::new(channel).watch(request).await }
            })
            .await;
        match opened {
            Ok(stream) => {
                self.stream = Some(stream);
                Ok(None)
            }
            Err(status) => self.lost(&status).map(Some),
        }
    }

    fn lost(&mut self, status: &Status) -> Result<Told, CliError> {
        self.failures = self.failures.saturating_add(1);
        match status.code() {
            Code::OutOfRange => {
                self.request.token.clear();
                Ok(Told::Restarted)
            }
            // What a restart, a proxy or a lost network makes of a stream.
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            | Code::Internal
            | Code::Unknown
            | Code::ResourceExhausted => Ok(Told::Interrupted(status.message().to_owned())),
            _ => Err(self.remote.explain("watch", status)),
        }
    }
}

/// The name of what a message is about, for tests and lines.
pub(crate) fn is_bookmark(message: &WatchResponse) -> bool {
    matches!(message.change, Some(Change::Bookmark(_)))
}
