//! What happens around every call: a request id, one span, who calls, panics caught, one line when
//! it ends with its code and latency.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::body::{Finish, Tracked};
use super::inflight::InFlight;
use crate::auth::{Authenticate, CallInfo, Peer, identify};
use crate::shutdown::Shutdown;
use crate::status::{Refusal, status};

/// The header that names a call in logs and in answers.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a caller: a UUID or a trace id fits.
const REQUEST_ID_BYTES: usize = 64;

/// The id of a call, from the caller's `x-request-id` or made here (UUIDv7). In the request's
/// extensions, in the span and in the answer's `x-request-id`. It is no idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

impl RequestId {
    fn of<B>(request: &Request<B>) -> Self {
        let given = request
            .headers()
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok());
        let fits = |id: &&str| {
            (1..=REQUEST_ID_BYTES).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        };
        Self(
            given
                .filter(fits)
                .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned),
        )
    }
}

/// Health and reflection: asked by probes and tools, without credentials and often.
fn is_infrastructure(method: &str) -> bool {
    method.starts_with("/grpc.health.") || method.starts_with("/grpc.reflection.")
}

#[derive(Clone)]
struct Shared {
    auth: Arc<dyn Authenticate>,
    in_flight: InFlight,
    stop: Shutdown,
}

/// Wraps the routes of a server.
#[derive(Clone)]
pub(super) struct ChassisLayer(Shared);

impl ChassisLayer {
    pub(super) fn new(auth: Arc<dyn Authenticate>, in_flight: InFlight, stop: Shutdown) -> Self {
        Self(Shared {
            auth,
            in_flight,
            stop,
        })
    }
}

impl<S> Layer<S> for ChassisLayer {
    type Service = Chassis<S>;
    fn layer(&self, inner: S) -> Chassis<S> {
        Chassis {
            inner,
            shared: self.0.clone(),
        }
    }
}

/// See [`ChassisLayer`].
#[derive(Clone)]
pub(super) struct Chassis<S> {
    inner: S,
    shared: Shared,
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for Chassis<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone takes the place of the one that was polled ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let Shared {
            auth,
            in_flight,
            stop,
        } = self.shared.clone();

        let method = request.uri().path().to_owned();
        let infrastructure = is_infrastructure(&method);
        let id = RequestId::of(&request);
        let peer = Peer {
            address: request
                .extensions()
                .get::<TcpConnectInfo>()
                .and_then(|tcp| tcp.remote_addr),
        };
        let span = tracing::info_span!(
            "rpc",
            %method,
            request_id = %id.0,
            peer = peer.address.map(tracing::field::display),
            principal = tracing::field::Empty,
        );
        let ticket = in_flight.enter(&method);
        let finish = Finish::new(span.clone(), infrastructure, ticket);
        request.extensions_mut().insert(id.clone());
        let request_id = id.0.clone();

        let handled = {
            let span = span.clone();
            async move {
                if !infrastructure {
                    let metadata = MetadataMap::from_headers(request.headers().clone());
                    match identify(&*auth, &metadata, &peer).await {
                        Ok(mut principal) => {
                            principal.call = CallInfo {
                                request_id,
                                source: peer.address,
                            };
                            span.record("principal", &principal.name);
                            request.extensions_mut().insert(principal);
                        }
                        Err(refused) => return status(&refused).into_http(),
                    }
                }
                let Ok(response) = inner.call(request).await;
                response
            }
        };
        let future = async move {
            let response = match AssertUnwindSafe(handled).catch_unwind().await {
                Ok(response) => response,
                Err(panic) => panicked(&*panic).into_http(),
            };
            let (mut parts, body) = response.into_parts();
            if let Ok(value) = HeaderValue::from_str(&id.0) {
                parts.headers.insert(REQUEST_ID, value);
            }
            // Health watches never end by themselves; nothing but the stop ends them.
            let ends_at = infrastructure.then_some(stop);
            let body = Tracked::new(body, &parts.headers, finish, ends_at);
            Ok(Response::from_parts(parts, Body::new(body)))
        };
        Box::pin(future.instrument(span))
    }
}

/// The answer of a handler that panicked.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Status {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    status(&Refusal::Panicked(text.to_owned()))
}
