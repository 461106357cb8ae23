//! Which HTTP proxy leads to a server: the configured one, or the one that the environment names.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use hyper_util::client::proxy::matcher::Matcher;
use tonic::transport::Uri;

use crate::target::Target;

/// The proxy of a dialer. The default is the environment's: `https_proxy` for `https://` servers that are not this machine,
/// but for those that `no_proxy` lists.
#[derive(Clone, Default)]
pub struct Proxy(Choice);

#[derive(Clone, Default)]
enum Choice {
    /// What the environment says.
    #[default]
    Environment,
    /// None at all.
    None,
    /// This one, for every server.
    Given(Arc<Matcher>),
}

/// The proxy has a password, which no log may show.
impl fmt::Debug for Proxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            Choice::Environment => "Proxy(environment)",
            Choice::None => "Proxy(none)",
            Choice::Given(_) => "Proxy(given)",
        })
    }
}

/// A text names no proxy that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Another kind of proxy.
    #[error("a proxy by `{0}://` cannot be used: write one that speaks HTTP, as http://HOST:PORT")]
    Scheme(String),
    /// No address. The text is not shown: it may have a password in it.
    #[error(
        "the proxy's address has no meaning: write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, `none`, or nothing"
    )]
    Address,
}

impl FromStr for Proxy {
    type Err = ProxyError;

    /// `http://HOST:PORT`, with `USER:PASSWORD@` before the host if need be; `none`; or nothing for what the environment says.
    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let text = text.trim();
        match text {
            "" => return Ok(Self(Choice::Environment)),
            "none" => return Ok(Self(Choice::None)),
            _ => {}
        }
        let url = match text.split_once("://") {
            Some(("http", _)) => text.to_owned(),
            Some((scheme, _)) => return Err(ProxyError::Scheme(scheme.to_owned())),
            None => format!("http://{text}"),
        };
        let uri: Uri = url.parse().map_err(|_| ProxyError::Address)?;
        let host = uri.host().unwrap_or_default();
        let path = uri.path();
        if host.is_empty() || uri.port_u16().is_none() || !(path.is_empty() || path == "/") {
            return Err(ProxyError::Address);
        }
        Ok(Self(Choice::Given(Arc::new(
            Matcher::builder().all(url).build(),
        ))))
    }
}

/// A proxy that is to be used.
#[derive(Debug)]
pub(super) struct Via {
    /// Host and port.
    pub(super) shown: String,
    /// The value of `Proxy-Authorization`.
    pub(super) credential: Option<String>,
}

impl Via {
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.shown)
    }
}

impl Proxy {
    /// The proxy on the way to a server; `None` for the direct way.
    pub(super) fn towards(&self, target: &Target) -> Result<Option<Via>, ProxyError> {
        let found = match &self.0 {
            Choice::None => None,
            Choice::Given(matcher) => target
                .url()
                .parse()
                .ok()
                .and_then(|uri| matcher.intercept(&uri)),
            Choice::Environment if !target.is_secure() || is_this_machine(target.host()) => None,
            Choice::Environment => {
                let matcher = Matcher::from_env();
                target
                    .url()
                    .parse()
                    .ok()
                    .and_then(|uri| matcher.intercept(&uri))
            }
        };
        let Some(found) = found else { return Ok(None) };
        let uri = found.uri();
        match uri.scheme_str() {
            Some("http") | None => {}
            Some(other) => return Err(ProxyError::Scheme(other.to_owned())),
        }
        let host = uri.host().ok_or(ProxyError::Address)?;
        // As other tools read an address without a port.
        let shown = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let credential = found
            .basic_auth()
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        Ok(Some(Via { shown, credential }))
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn towards(proxy: &str, target: &str) -> Option<Via> {
        let proxy: Proxy = proxy.parse().unwrap();
        proxy.towards(&target.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_given_proxy_is_used_for_every_server() {
        for target in [
            "127.0.0.1:10100",
            "https://c.example:10100",
            "https://[::1]:1",
        ] {
            let via = towards("http://p.example:3128", target).unwrap();
            assert_eq!(
                (via.shown.as_str(), via.credential),
                ("p.example:3128", None)
            );
            assert!(towards("none", target).is_none());
        }
        assert_eq!(
            towards("p.example:3128", "https://c:1").unwrap().url(),
            "http://p.example:3128"
        );
        assert_eq!(
            towards("http://[::1]:3128/", "https://c:1").unwrap().shown,
            "[::1]:3128"
        );
    }

    #[test]
    fn a_password_is_told_to_the_proxy_and_to_nobody_else() {
        let text = "http://me:s%40cret@p.example:3128";
        let via = towards(text, "https://c.example:10100").unwrap();
        let expected = data_encoding::BASE64.encode(b"me:s@cret");
        assert_eq!(via.credential, Some(format!("Basic {expected}")));
        assert_eq!(via.shown, "p.example:3128");
        assert_eq!(
            format!("{:?}", text.parse::<Proxy>().unwrap()),
            "Proxy(given)"
        );
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_showing_it() {
        for (text, said) in [
            ("https://p:1", "by `https://` cannot be used"),
            ("socks5://p:1", "by `socks5://` cannot be used"),
            ("http://p.example", "has no meaning"),
            ("http://me:secret@", "has no meaning"),
            ("http://me:secret@p:x", "has no meaning"),
            ("http://p:1/path", "has no meaning"),
        ] {
            let error = text.parse::<Proxy>().unwrap_err().to_string();
            assert!(
                error.contains(said) && !error.contains("secret"),
                "`{text}`: {error}"
            );
        }
    }
}
