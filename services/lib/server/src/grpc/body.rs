//! The body of an answer, watched until it ends: the code stands in its trailers.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Span;

use super::inflight::Ticket;
use super::layer::panicked;
use super::rates::Streaming;

/// Writes the one line of a call when it is dropped, which is when the call ends however it ends.
pub(super) struct Finish {
    span: Span,
    infrastructure: bool,
    begun: Instant,
    code: Option<Code>,
    _ticket: Ticket,
    _streaming: Option<Streaming>,
}

impl Finish {
    pub(super) fn new(span: Span, infrastructure: bool, ticket: Ticket) -> Self {
        Self {
            span,
            infrastructure,
            begun: Instant::now(),
            code: None,
            _ticket: ticket,
            _streaming: None,
        }
    }

    /// The same for a call that is counted as long as it is open.
    pub(super) fn with(mut self, streaming: Option<Streaming>) -> Self {
        self._streaming = streaming;
        self
    }

    fn read(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let _entered = self.span.enter();
        let latency_ms = self.begun.elapsed().as_secs_f64() * 1e3;
        // A call without a code was left by its caller or cut by a stop.
        let code = self.code.map_or("LEFT", code_name);
        if self.infrastructure {
            tracing::debug!(code, latency_ms, "rpc ended");
        } else {
            tracing::info!(code, latency_ms, "rpc ended");
        }
    }
}

/// The names of `google.rpc.Code`, which people search for.
const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A body that reports its end, survives a panic of the stream inside, and may end at a stop.
pub(super) struct Tracked {
    inner: Option<Body>,
    finish: Finish,
    end: Option<End>,
}

/// What ends a body that does not end by itself.
pub(super) struct End {
    when: Pin<Box<dyn Future<Output = ()> + Send>>,
    with: fn() -> Status,
}

impl End {
    pub(super) fn new(
        when: impl Future<Output = ()> + Send + 'static,
        with: fn() -> Status,
    ) -> Self {
        let when = Box::pin(when);
        Self { when, with }
    }
}

impl Tracked {
    pub(super) fn new(
        inner: Body,
        headers: &HeaderMap,
        mut finish: Finish,
        end: Option<End>,
    ) -> Self {
        // An answer that is only an error has its code in the headers.
        finish.read(headers);
        Self {
            inner: Some(inner),
            finish,
            end,
        }
    }

    /// Ends the body with a status of our own.
    fn end_with(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.inner = None;
        self.finish.code = Some(status.code());
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(
            status
                .add_header(&mut trailers)
                .map(|()| Frame::trailers(trailers)),
        ))
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        if let Some(end) = &mut this.end
            && end.when.as_mut().poll(context).is_ready()
        {
            let status = (end.with)();
            return this.end_with(&status);
        }
        let polled = {
            let _entered = this.finish.span.enter();
            std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(context)))
        };
        match polled {
            Err(panic) => {
                let status = {
                    let _entered = this.finish.span.enter();
                    panicked(&*panic)
                };
                this.end_with(&status)
            }
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.finish.read(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(other) => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}
