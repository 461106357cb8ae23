//! Calls to a root or a cluster: one connection, deadlines, retries that cannot repeat an effect, and errors that say what to do.

mod follow;
mod pages;
mod status;

use std::{future::Future, time::Duration};

use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::{args::ServerAddress, error::CliError};
pub(crate) use follow::{Follow, Told, is_bookmark};

/// A server that answers at all does so within this; people wait no longer for a prompt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for one answer. A commit on a loaded small machine takes a second or two; the server's own limit is 10 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Waits between tries when the server is there but cannot answer now, such as during its restart. Together 3 s.
const RETRY_AFTER: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

/// A connection to one server.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    channel: Channel,
    server: ServerAddress,
}

impl Remote {
    /// Connects, so that a server that is not there is told apart from one that refuses.
    pub(crate) async fn connect(server: &ServerAddress) -> Result<Self, CliError> {
        let endpoint = Endpoint::from_shared(server.uri())
            .map_err(|_| CliError::Usage(format!("`{server}` is not HOST:PORT")))?
            .user_agent(concat!("edgeio/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| CliError::Failed(format!("set up the connection: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .tcp_nodelay(true);
        // The limit of the endpoint ends with the TCP connection; a server that accepts and stays silent needs this one.
        match tokio::time::timeout(CONNECT_TIMEOUT * 2, endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(Self {
                channel,
                server: server.clone(),
            }),
            Ok(Err(error)) => Err(status::unreachable(server, &status::chain(&error))),
            Err(_) => Err(status::unreachable(
                server,
                "it accepts the connection but does not answer",
            )),
        }
    }

    /// The server that is asked.
    pub(crate) fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// Calls with a deadline; tries again while the server is unavailable. `call` must be safe to repeat: a read, or a mutation with
    /// a request id. `attempt` names it in errors, such as "scale `hello`".
    pub(crate) async fn call<T, F>(
        &self,
        attempt: &str,
        mut call: impl FnMut(Channel) -> F,
    ) -> Result<T, CliError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.try_call(&mut call)
            .await
            .map_err(|status| self.explain(attempt, &status))
    }

    /// The same with the bare status, for callers that act on its code.
    pub(crate) async fn try_call<T, F>(
        &self,
        mut call: impl FnMut(Channel) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut waits = RETRY_AFTER.iter();
        loop {
            let answer = tokio::time::timeout(CALL_TIMEOUT, call(self.channel.clone()));
            let status = match answer.await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {CALL_TIMEOUT:?}")),
            };
            match waits.next() {
                Some(wait) if status.code() == Code::Unavailable => tokio::time::sleep(*wait).await,
                _ => return Err(status),
            }
        }
    }

    /// Says what a status means and what to do about it.
    pub(crate) fn explain(&self, attempt: &str, status: &Status) -> CliError {
        status::explain(attempt, &self.server, status)
    }
}

/// An id that makes a mutation safe to repeat.
pub(crate) fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
