//! The gRPC server of every binary: services in, one bounded and observable server out.
//!
//! [`Api`] adds what every server has: health, reflection v1 and v1alpha, limits, a request id and
//! a span a call, panics caught, callers authenticated. [`Api::serve`] ends under one deadline:
//! readiness goes down, accepting stops, open calls drain, and what is still open is cut and named.
//!
//! Deliberately absent: gRPC-Web.

mod body;
mod connections;
mod handshakes;
mod inflight;
mod io;
mod layer;
mod limits;
mod opening;
mod rates;
mod reflection;
mod unreadable;

pub use inflight::{InFlight, OpenCall};
pub use io::{BindError, Listener};
pub use layer::RequestId;
pub use limits::{Limits, MAX_DECODED_BYTES, MAX_ENCODED_BYTES};

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;

use crate::auth::rules::{Rules, RulesError};
use crate::auth::{Authenticate, Denials, Unheard};
use crate::config::ServeConfig;
use crate::shutdown::Shutdown;
use io::Incoming;
use layer::{ChassisLayer, Shared};
use rates::{Meter, Rates};

/// How long after the cut the connections' tasks may take to notice. They are woken at once; this
/// only bounds a defect.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// How long connections without open calls may take to say goodbye at a stop: long enough to send
/// the tail of the last answer over a poor link, short enough that a frozen client, which will never
/// answer, does not hold up every stop for the whole deadline.
const IDLE_GRACE: Duration = Duration::from_secs(3);

/// Why a server did not serve, or not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptor set is no descriptor set.
    #[error("build the reflection service")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// A service or method has no rule of who may call it.
    #[error("serve only what has a rule")]
    Rules(#[from] RulesError),
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "what was cut belongs into the log or the test"]
pub enum Served {
    /// Every call had ended.
    Drained,
    /// The deadline passed: these calls were cut.
    Cut(Vec<OpenCall>),
}

/// A server being put together.
pub struct Api {
    auth: Arc<dyn Authenticate>,
    limits: Limits,
    rates: Rates,
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    health: HealthReporter,
    in_flight: InFlight,
    denials: Arc<dyn Denials>,
    reflection: bool,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Api")
            .field("services", &self.names)
            .finish_non_exhaustive()
    }
}

impl Api {
    /// A server with health and reflection, whose calls pass `auth`.
    #[must_use]
    pub fn new(auth: Arc<dyn Authenticate>) -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        let mut routes = RoutesBuilder::default();
        routes.add_service(health_service);
        let (limits, in_flight) = (Limits::default(), InFlight::default());
        Self {
            auth,
            limits,
            rates: Rates::default(),
            routes,
            names: Vec::new(),
            health,
            in_flight,
            denials: Arc::new(Unheard),
            reflection: true,
        }
    }

    /// Adds a service. Make it by [`crate::bounded!`], which sets the sizes of its messages.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }

    /// Takes the limits and rates that an operator may change, and whether reflection is served.
    #[must_use]
    pub fn configured(mut self, serve: &ServeConfig) -> Self {
        self.rates = Rates::from(serve);
        self.limits.connection_age = serve.connection_age;
        self.reflection(serve.reflection)
    }

    /// Replaces the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells of calls that are refused for who makes them.
    #[must_use]
    pub fn denials(mut self, denials: Arc<dyn Denials>) -> Self {
        self.denials = denials;
        self
    }

    /// Whether reflection is served. It is, unless told.
    #[must_use]
    pub fn reflection(mut self, served: bool) -> Self {
        self.reflection = served;
        self
    }

    /// Tells readiness, such as NOT_SERVING while the database is away. [`Api::serve`] sets
    /// SERVING for each service at its start and NOT_SERVING at its stop.
    #[must_use]
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// The calls that are open, for metrics and for the message of a stop.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }

    /// Serves until `stop`, then drains for `drain` at most and cuts the rest.
    ///
    /// Handlers of long streams end them by [`Shutdown::end`]; one that does not is cut.
    ///
    /// # Errors
    /// When a method has no rule of who may call it, or the proto crate's descriptor set cannot be decoded.
    pub async fn serve(
        mut self,
        listener: Listener,
        stop: Shutdown,
        drain: Duration,
    ) -> Result<Served, ServeError> {
        let rules = Rules::of(self.names.iter().copied())?;
        for name in self.names.iter().copied().chain([""]) {
            self.health
                .set_service_status(name, ServingStatus::Serving)
                .await;
        }
        if self.reflection {
            reflection::add(&mut self.routes, &self.names).map_err(ServeError::Reflection)?;
        }
        let address = listener.address();
        tracing::info!(%address, tls = listener.is_secure(), services = ?self.names, "serving grpc");

        let (cut, cut_token) = Shutdown::new();
        let layer = ChassisLayer::new(Shared {
            auth: self.auth,
            rules: Arc::new(rules),
            denials: self.denials,
            meter: Meter::new(self.rates),
            in_flight: self.in_flight.clone(),
            stop: stop.clone(),
        });
        let (health, names) = (self.health, self.names);
        let (leaving, leave) = Shutdown::new();
        let readiness_down = {
            let stop = stop.clone();
            async move {
                stop.wait().await;
                for name in names.iter().copied().chain([""]) {
                    health
                        .set_service_status(name, ServingStatus::NotServing)
                        .await;
                }
                leaving.fire();
            }
        };
        let mut calls = self.limits.apply(Server::builder()).layer(layer);
        let calls = calls.add_routes(self.routes.routes());
        let incoming = Incoming::new(listener, cut_token, self.limits.opens_within);
        let age = self.limits.connection_age;
        let serving = async {
            tokio::join!(
                connections::serve(calls, incoming, age, leave),
                readiness_down
            );
        };
        tokio::pin!(serving);

        // Connections are waited for without a deadline of their own.
        let in_flight = self.in_flight.clone();
        let deadline = async {
            stop.wait().await;
            let _ = tokio::time::timeout(drain, in_flight.idle_for(IDLE_GRACE)).await;
        };
        tokio::select! {
            () = &mut serving => {
                tracing::info!(%address, "stopped serving grpc");
                return Ok(Served::Drained);
            }
            () = deadline => {}
        }
        let open = self.in_flight.open();
        cut.fire();
        if tokio::time::timeout(CUT_GRACE, serving).await.is_err() {
            tracing::error!(%address, "connections did not close after the cut");
        }
        if open.is_empty() {
            tracing::info!(%address, "stopped serving grpc; closed idle connections");
            return Ok(Served::Drained);
        }
        tracing::warn!(%address, open = ?open, "cut calls that did not end before the deadline");
        Ok(Served::Cut(open))
    }
}

/// Bounds the messages of a generated server: `bounded!(ApplicationServiceServer::new(handler))`.
///
/// tonic decodes 4 MiB and encodes without a limit unless told; see
/// [`MAX_DECODED_BYTES`] and [`MAX_ENCODED_BYTES`].
#[macro_export]
macro_rules! bounded {
    ($server:expr) => {
        $server
            .max_decoding_message_size($crate::grpc::MAX_DECODED_BYTES)
            .max_encoding_message_size($crate::grpc::MAX_ENCODED_BYTES)
    };
}
