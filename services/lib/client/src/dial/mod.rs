//! The way to a server: TCP, through an HTTP proxy where there is one, and TLS where the address says `https://`.
//!
//! A [`Dialer`] knows whom to believe ([`Trust`]) and which [`Proxy`] to use, and makes channels. Every error that passes by
//! no repetition says what to do about it. Deliberately absent: TLS or SOCKS to the proxy itself.

mod error;
mod proxy;
mod stream;
mod trust;
mod tunnel;
mod verify;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{ClientConfig, client::Resumption};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::{Service, ServiceExt as _};

use crate::{
    channel::{ChannelError, Options},
    target::Target,
};
pub use error::DialError;
pub use proxy::{Proxy, ProxyError};
use stream::Stream;
pub use trust::{CaHash, CaHashError, Trust};
use verify::Verifier;

/// How often a connection that stands for long asks for the server's authorities: once an hour costs nothing, and a new
/// authority lives beside the old one for months.
const LOOK: Duration = Duration::from_secs(3600);

/// Makes channels. Clones share what they have learned.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    trust: Arc<Trust>,
    proxy: Proxy,
}

impl Dialer {
    /// One that believes whom `trust` says, and dials through `proxy`.
    #[must_use]
    pub fn new(trust: Trust, proxy: Proxy) -> Self {
        Self {
            trust: Arc::new(trust),
            proxy,
        }
    }

    /// A channel that dials when the first call needs it, and again after each loss. Needs a Tokio
    /// runtime. Pass it to a generated client.
    ///
    /// # Errors
    /// When the transport refuses the address; never because nothing answers there.
    pub fn connect(&self, target: &Target, options: &Options) -> Result<Channel, ChannelError> {
        let endpoint = endpoint(target, options)?;
        Ok(endpoint.connect_with_connector_lazy(self.connector(target, options)))
    }

    /// A channel that stands already; for whoever would rather know at once.
    ///
    /// # Errors
    /// When nothing answers there in time, or not whom we believe.
    pub async fn connect_now(
        &self,
        target: &Target,
        options: &Options,
    ) -> Result<Channel, ChannelError> {
        let endpoint = endpoint(target, options)?;
        let failed = |source| ChannelError::Connect {
            target: target.clone(),
            source,
        };
        let connector = self.connector(target, options);
        endpoint
            .connect_with_connector(connector)
            .await
            .map_err(failed)
    }

    /// Asks the server for its authorities, so that a new one is known before the old one ends. Nothing else is said.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn look(&self, target: &Target) -> Result<(), DialError> {
        let options = Options::default();
        let dialling = self.connector(target, &options).dial();
        match tokio::time::timeout(within(target, &options), dialling).await {
            Ok(Ok(_stream)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(DialError::Late(target.clone())),
        }
    }

    /// [`Dialer::look`] every hour, for connections that stand for longer than an authority lives. Never ends.
    pub async fn keep_looking(&self, target: &Target) -> Infallible {
        if !target.is_secure() || !self.trust.is_own() {
            return std::future::pending().await;
        }
        loop {
            // Not all at once, and not in step with whoever else was started then.
            tokio::time::sleep(LOOK.mul_f64(0.5 + rand::random::<f64>())).await;
            if let Err(error) = self.look(target).await {
                tracing::debug!(%target, %error, "asking for the server's authorities failed");
            }
        }
    }

    fn connector(&self, target: &Target, options: &Options) -> Connector {
        Connector {
            dialer: self.clone(),
            target: target.clone(),
            tcp_within: options.connect_within,
        }
    }
}

/// For all of the way; each further step of it is another round trip or two.
fn within(target: &Target, options: &Options) -> Duration {
    options.connect_within * if target.is_secure() { 2 } else { 1 }
}

fn endpoint(target: &Target, options: &Options) -> Result<Endpoint, ChannelError> {
    let failed = |source| ChannelError::Prepare {
        target: target.clone(),
        source,
    };
    let mut endpoint = Endpoint::from_shared(target.plain_url())
        .map_err(failed)?
        .connect_timeout(within(target, options))
        .timeout(options.answer_within)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true);
    // The requests' own scheme: the transport must not know of TLS, or it would do that itself.
    if let Ok(origin) = target.url().parse::<Uri>() {
        endpoint = endpoint.origin(origin);
    }
    Ok(endpoint)
}

/// Dials one target, whatever address the transport names.
#[derive(Clone)]
struct Connector {
    dialer: Dialer,
    target: Target,
    tcp_within: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { Ok(TokioIo::new(connector.dial().await?)) })
    }
}

impl Connector {
    async fn dial(self) -> Result<Stream, DialError> {
        let socket = match self.dialer.proxy.towards(&self.target)? {
            None => {
                let reach = |source| DialError::Reach {
                    server: self.target.clone(),
                    source,
                };
                self.tcp(&self.target.plain_url()).await.map_err(reach)?
            }
            Some(via) => {
                let reach = |source: Failure| DialError::ProxyReach {
                    proxy: via.shown.clone(),
                    why: innermost(&*source),
                };
                let socket = self.tcp(&via.url()).await.map_err(reach)?;
                tunnel::open(socket, &via, &self.target).await?
            }
        };
        if self.target.is_secure() {
            self.secure(socket).await
        } else {
            Ok(Stream::plain(socket))
        }
    }

    /// Dials all addresses of a name, the next one a little later while the one before does not answer.
    async fn tcp(&self, url: &str) -> Result<TcpStream, Failure> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(self.tcp_within));
        let uri: Uri = url.parse()?;
        Ok(connector.oneshot(uri).await?.into_inner())
    }

    async fn secure(&self, socket: TcpStream) -> Result<Stream, DialError> {
        let Self { dialer, target, .. } = self;
        let failed = |error: &std::io::Error| error::of_handshake(error, target, &dialer.trust);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(Arc::clone(&dialer.trust), Arc::clone(&provider));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| failed(&std::io::Error::other(error)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session shows no certificate: nothing would be verified again, and nothing learned.
        config.resumption = Resumption::disabled();
        let name = target
            .host()
            .to_owned()
            .try_into()
            .map_err(|_| DialError::Name(target.clone()))?;
        let secured = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await;
        Ok(Stream::tls(secured.map_err(|error| failed(&error))?))
    }
}

/// What dialling failed with.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
