//! Calls to a root or a cluster, and what their failures mean to a person.
//!
//! Every call made here is a read or carries a request id, so each may be repeated: how that is done, and when, is the client
//! library's.

mod pages;

use std::{future::Future, time::Duration};

use edgeio_client::{
    Backoff, BackoffPolicy, ChannelError, Dialer, Failure, Options, Repeat, Target, WatchEvent,
    explain_status, resume, retry,
};
use edgeio_proto::api::v1::{
    WatchRequest, WatchResponse, application_service_client::ApplicationServiceClient,
};
use futures::{StreamExt, stream::BoxStream};
use tonic::{
    Request, Response, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_types::StatusExt;

use crate::{error::CliError, output::text::count, session::Token};

/// How long a call is repeated while the server cannot answer: a server that restarts is back within a few seconds, and a
/// person wants to be told soon after.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest pause before a lost watch is taken up again: a person looks on.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What calls go through.
pub(crate) type Wire = InterceptedService<Channel, Bearer>;

/// Puts the caller's token on each call, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<AsciiMetadataValue>);

impl Bearer {
    fn new(token: Option<&Token>) -> Result<Self, CliError> {
        let value = |token: &Token| {
            let value = format!("Bearer {}", token.expose()).parse::<AsciiMetadataValue>();
            let mut value = value.map_err(|_| CliError::Usage("the token is none".to_owned()))?;
            // It is not shown when a request is.
            value.set_sensitive(true);
            Ok::<_, CliError>(value)
        };
        token.map(value).transpose().map(Self)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A connection to one server.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    channel: Wire,
    server: Target,
}

impl Remote {
    /// Connects, so that a server that is not there is told apart from one that refuses.
    pub(crate) async fn connect(
        server: &Target,
        dialer: &Dialer,
        token: Option<&Token>,
    ) -> Result<Self, CliError> {
        let bearer = Bearer::new(token)?;
        let options = Options::default();
        // The library bounds the TCP connection; one that is accepted by something that never speaks needs this bound.
        let bound = options.connect_within * 3;
        match tokio::time::timeout(bound, dialer.connect_now(server, &options)).await {
            Ok(Ok(channel)) => Ok(Self {
                channel: InterceptedService::new(channel, bearer),
                server: server.clone(),
            }),
            Ok(Err(error)) => Err(unreachable(server, &root_cause(&error))),
            Err(_) => Err(unreachable(
                server,
                "the connection is accepted but nothing is said",
            )),
        }
    }

    /// The server that is asked.
    pub(crate) fn server(&self) -> &Target {
        &self.server
    }

    /// Calls, and repeats while that may help. `attempt` names the call in errors, such as "scale `hello`".
    pub(crate) async fn call<T, F>(
        &self,
        attempt: &str,
        call: impl FnMut(Wire) -> F,
    ) -> Result<T, CliError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.try_call(call)
            .await
            .map_err(|status| self.explain(attempt, &status))
    }

    /// Calls once: for what a repetition would do again.
    pub(crate) async fn call_once<T, F>(
        &self,
        attempt: &str,
        call: impl FnOnce(Wire) -> F,
    ) -> Result<T, CliError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = call(self.channel.clone()).await;
        answer
            .map(Response::into_inner)
            .map_err(|status| self.explain(attempt, &status))
    }

    /// The same with the bare status, for callers that act on its code.
    pub(crate) async fn try_call<T, F>(&self, mut call: impl FnMut(Wire) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = retry(Repeat::RequestId, PATIENCE, || call(self.channel.clone()));
        answer.await.map(Response::into_inner)
    }

    /// Watches one application, or all with an empty name; survives the loss of the connection.
    pub(crate) fn watch(
        &self,
        namespace: &str,
        application: &str,
    ) -> BoxStream<'static, Result<WatchEvent<WatchResponse>, CliError>> {
        let backoff = Backoff::new(BackoffPolicy {
            cap: LONGEST_PAUSE,
            ..BackoffPolicy::default()
        });
        let client = ApplicationServiceClient::new(self.channel.clone());
        let request = WatchRequest {
            namespace: namespace.to_owned(),
            application: application.to_owned(),
            token: String::new(),
        };
        let events = resume(String::new(), backoff, move |token| {
            let mut client = client.clone();
            let request = WatchRequest {
                token,
                ..request.clone()
            };
            async move { client.watch(request).await }
        });
        let remote = self.clone();
        events
            .map(move |event| event.map_err(|status| remote.explain("watch", &status)))
            .boxed()
    }

    /// Says what a status means and what to do about it.
    pub(crate) fn explain(&self, attempt: &str, status: &Status) -> CliError {
        let mut lines = explain_status(status);
        let faults = status
            .get_details_bad_request()
            .map_or(0, |bad| bad.field_violations.len());
        if let (Some(headline), true) = (lines.first_mut(), faults > 0) {
            // The fields follow one by one; the server's own headline only tells the first of them.
            *headline = format!("the server refused {}", count(faults, "value"));
        }
        let said = lines.join("\n");
        match Failure::of(status) {
            Failure::Usage => CliError::Invalid(format!("{attempt}: {said}")),
            Failure::Unreachable => unreachable(&self.server, &format!("{attempt}: {said}")),
            Failure::Failed => CliError::Failed(format!("{attempt}: {said}")),
        }
    }
}

/// An id that makes a mutation safe to repeat.
pub(crate) fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn unreachable(server: &Target, why: &str) -> CliError {
    CliError::Unreachable(format!(
        "no answer from {server}: {why}\n\
         check that a root (port 10000) or a cluster (port 10100) runs there, or name another server with \
         --server HOST:PORT or EDGEIO_SERVER"
    ))
}

/// The innermost cause: the transport's outer words only say "transport error".
fn root_cause(error: &ChannelError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
