//! What happens around every call: a request id, one span, who calls, panics caught, one line when
//! it ends with its code and latency.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::body::{End, Finish, Tracked};
use super::inflight::InFlight;
use super::io::Origin;
use super::rates::{Meter, Streaming, TooMany};
use super::unreadable::blame;
use crate::auth::rules::Rules;
use crate::auth::{Authenticate, CallInfo, Denial, Denials, Peer, Principal, identify};
use crate::shutdown::Shutdown;
use crate::status::{Refusal, connection_old, status, stopping};

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

/// Streams whose clients resume them where they were, so that they may be ended when their connection is old.
fn is_resumed(method: &str) -> bool {
    matches!(method.rsplit('/').next(), Some("Watch" | "Attach"))
}

/// What all calls share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) auth: Arc<dyn Authenticate>,
    pub(super) rules: Arc<Rules>,
    pub(super) denials: Arc<dyn Denials>,
    pub(super) in_flight: InFlight,
    pub(super) meter: Meter,
    pub(super) stop: Shutdown,
}

impl Shared {
    /// Identifies the caller of a method and lets it in, or answers why not. What no rule is about is not served, and the
    /// router says so: no handler is behind it.
    async fn admit(
        &self,
        method: &str,
        metadata: &MetadataMap,
        peer: &Peer,
        call: CallInfo,
    ) -> Result<(Principal, Option<Streaming>), Status> {
        let mut who = match identify(&*self.auth, metadata, peer).await {
            Ok(who) => who,
            Err(refused) => {
                let told = Denial::of_nobody(call, method, &refused);
                self.denials.denied(told);
                return Err(status(&refused));
            }
        };
        who.call = call;
        let Some(rule) = self.rules.get(method) else {
            return Ok((who, None));
        };
        match rule.admit(&who) {
            Ok(()) => match self.meter.admit(method, rule, &who, peer, Instant::now()) {
                Ok(streaming) => Ok((who, streaming)),
                Err(TooMany { pause }) => Err(status(&Refusal::TooMany(pause))),
            },
            Err(refused) => {
                self.denials.denied(Denial {
                    who,
                    method: method.to_owned(),
                    why: refused.to_string(),
                });
                Err(status(&refused))
            }
        }
    }
}

/// Wraps the routes of a server.
#[derive(Clone)]
pub(super) struct ChassisLayer(Shared);

impl ChassisLayer {
    pub(super) fn new(shared: Shared) -> Self {
        Self(shared)
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
        let shared = self.shared.clone();
        let stop = shared.stop.clone();

        let method = request.uri().path().to_owned();
        let infrastructure = is_infrastructure(&method);
        let id = RequestId::of(&request);
        let origin = request.extensions().get::<Origin>().cloned();
        let peer = Peer {
            address: origin.as_ref().and_then(|origin| origin.address),
        };
        let resumed = is_resumed(&method);
        let span = tracing::info_span!(
            "rpc",
            %method,
            request_id = %id.0,
            peer = peer.address.map(tracing::field::display),
            principal = tracing::field::Empty,
        );
        let ticket = shared.in_flight.enter(&method);
        let finish = Finish::new(span.clone(), infrastructure, ticket);
        request.extensions_mut().insert(id.clone());
        let request_id = id.0.clone();

        let handled = {
            let span = span.clone();
            async move {
                let (mut caller, mut streaming) = (None, None);
                if !infrastructure {
                    let metadata = MetadataMap::from_headers(request.headers().clone());
                    let call = CallInfo {
                        request_id,
                        source: peer.address,
                    };
                    match shared.admit(&method, &metadata, &peer, call).await {
                        Ok((principal, open)) => {
                            streaming = open;
                            span.record("principal", &principal.name);
                            caller = Some(principal.clone());
                            request.extensions_mut().insert(principal);
                        }
                        Err(refused) => return (refused.into_http(), None),
                    }
                }
                let Ok(response) = inner.call(request).await;
                let response = blame(response);
                if let (Some(who), Some(why)) = (caller, forbidden(&response)) {
                    shared.denials.denied(Denial { who, method, why });
                }
                (response, streaming)
            }
        };
        let future = async move {
            let (response, streaming) = match AssertUnwindSafe(handled).catch_unwind().await {
                Ok(answer) => answer,
                Err(panic) => (panicked(&*panic).into_http(), None),
            };
            let (mut parts, body) = response.into_parts();
            if let Ok(value) = HeaderValue::from_str(&id.0) {
                parts.headers.insert(REQUEST_ID, value);
            }
            let end = match origin {
                // Health watches never end by themselves; nothing but the stop ends them.
                _ if infrastructure => Some(End::new(stop.wait(), stopping)),
                Some(origin) if resumed => Some(End::new(origin.is_old.wait(), connection_old)),
                Some(_) | None => None,
            };
            let body = Tracked::new(body, &parts.headers, finish.with(streaming), end);
            Ok(Response::from_parts(parts, Body::new(body)))
        };
        Box::pin(future.instrument(span))
    }
}

/// Why a handler says that the caller may not, if it says so.
fn forbidden(response: &Response<Body>) -> Option<String> {
    let status = Status::from_header_map(response.headers())?;
    (status.code() == tonic::Code::PermissionDenied).then(|| status.message().to_owned())
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
