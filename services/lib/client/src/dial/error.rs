//! Why a server was not reached, and what to do about it.

use std::io;

use rustls::CertificateError;

use super::{proxy::ProxyError, trust::Trust};
use crate::target::Target;

/// Why a server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nothing answers.
    #[error("reach `{server}`")]
    Reach {
        /// The server.
        server: Target,
        /// What the system says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The way took too long.
    #[error("`{0}` was not reached in time")]
    Late(Target),
    /// The proxy is none that can be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The proxy does not answer.
    #[error(
        "the proxy `{proxy}` is not reached: {why}; check that it runs, and its address (`proxy`, or `https_proxy` in the environment)"
    )]
    ProxyReach {
        /// The proxy, without its password.
        proxy: String,
        /// What the system says.
        why: String,
    },
    /// The proxy wants to know who asks.
    #[error(
        "the proxy `{proxy}` wants a name and a password that it knows (407): write http://USER:PASSWORD@HOST:PORT"
    )]
    ProxyCredential {
        /// The proxy, without its password.
        proxy: String,
    },
    /// The proxy forbids it.
    #[error(
        "the proxy `{proxy}` does not let anybody through to `{server}` ({said}): its operator must allow CONNECT to that host and port"
    )]
    ProxyForbids {
        /// The proxy, without its password.
        proxy: String,
        /// The server.
        server: Target,
        /// The proxy's answer.
        said: String,
    },
    /// The proxy does not get there.
    #[error(
        "the proxy `{proxy}` does not reach `{server}` ({said}): check that the server runs, and that the proxy knows its name"
    )]
    ProxyFails {
        /// The proxy, without its password.
        proxy: String,
        /// The server.
        server: Target,
        /// The proxy's answer.
        said: String,
    },
    /// It is no proxy.
    #[error("`{proxy}` does not answer as an HTTP proxy does: {why}")]
    NoProxy {
        /// What should be one.
        proxy: String,
        /// What is odd.
        why: String,
    },
    /// The host cannot stand in a certificate.
    #[error("`{0}`: its host is no name that a certificate can have")]
    Name(Target),
    /// The server is not believed, or does not speak TLS.
    #[error("`{server}`: {why}")]
    Tls {
        /// The server.
        server: Target,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// Why a handshake failed.
pub(super) fn of_handshake(error: &io::Error, server: &Target, trust: &Trust) -> DialError {
    let inner = error.get_ref();
    let why = match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(error)) => of_certificate(error, server, trust),
        Some(rustls::Error::InvalidMessage(_)) => {
            "it does not speak TLS: write http:// before it if it is meant to serve without"
                .to_owned()
        }
        Some(
            rustls::Error::PeerIncompatible(_)
            | rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion),
        ) => "it does not speak TLS 1.3, and nothing older is spoken here".to_owned(),
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => {
            "it does not speak HTTP/2, so it is no gRPC server: check the address".to_owned()
        }
        Some(error) => format!("the TLS handshake failed: {error}"),
        None => format!(
            "it hung up during the TLS handshake ({error}): does it speak TLS? If not, write http:// before it"
        ),
    };
    DialError::Tls {
        server: server.clone(),
        why,
    }
}

fn of_certificate(error: &CertificateError, server: &Target, trust: &Trust) -> String {
    match error {
        CertificateError::UnknownIssuer => format!(
            "its certificate is signed by nobody who is trusted here ({trust}): give its authority by `ca` (`--ca`), or the \
             authority's hash by `ca_hash` (`--ca-hash`), as the server's command `ca show` tells it"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "its certificate, or an authority's, has ended ({error}): it must be renewed there, unless the clock of this \
             machine is wrong"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "its certificate is not valid yet ({error}): is the clock of this machine right?"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "its certificate is not for `{}` ({error}): call it by a name that is in there, or add this one at the server \
             (`tls_names`)",
                server.host()
            )
        }
        CertificateError::Other(other) => other.to_string(),
        other => format!("its certificate is not good: {other}"),
    }
}
