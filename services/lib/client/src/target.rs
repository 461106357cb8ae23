//! Where a server is: what a user writes, checked before anything is dialled.

use std::fmt;
use std::str::FromStr;

use tonic::transport::Uri;

/// A server's address, from `host:port`, `http://host:port` or, with TLS, `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    authority: String,
    secure: bool,
}

/// Why a text is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing was given.
    #[error("the address is empty: write HOST:PORT, such as `127.0.0.1:10000`")]
    Empty,
    /// No port, or none from 1 to 65535.
    #[error("`{0}` has no port: write HOST:PORT, such as `{0}:10000`")]
    NoPort(String),
    /// The port is no port.
    #[error("`{0}` has no port from 1 to 65535 at its end")]
    BadPort(String),
    /// A scheme that this version does not speak.
    #[error(
        "`{scheme}://` is not spoken here: write HOST:PORT, or https://HOST:PORT for a server with TLS"
    )]
    Scheme {
        /// What stood before `://`.
        scheme: String,
    },
    /// More than host and port.
    #[error("`{0}` names more than a host and a port: write HOST:PORT")]
    Excess(String),
    /// Not a host.
    #[error("`{0}` is not HOST:PORT; an IPv6 address stands in brackets, such as `[::1]:10000`")]
    BadHost(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        let (rest, secure) = match text.split_once("://") {
            Some(("http", rest)) => (rest, false),
            Some(("https", rest)) => (rest, true),
            Some((scheme, _)) => {
                return Err(TargetError::Scheme {
                    scheme: scheme.to_owned(),
                });
            }
            None => (text, false),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Err(TargetError::Empty);
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err(TargetError::Excess(text.to_owned()));
        }
        let bad_host = || TargetError::BadHost(text.to_owned());
        let uri: Uri = format!("http://{rest}/").parse().map_err(|_| {
            // The parser does not say which part it dislikes.
            match rest.rsplit_once(':') {
                Some((host, _)) if !host.contains(':') => TargetError::BadPort(text.to_owned()),
                _ => bad_host(),
            }
        })?;
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(bad_host)?;
        let bracketed = host.starts_with('[');
        // The library takes `x[::1]` for a host, of which only a part would be dialled.
        if host.contains([':', '[', ']']) && !(bracketed && host.ends_with(']')) {
            return Err(bad_host());
        }
        match uri.port() {
            Some(port) if port.as_u16() > 0 => Ok(Self {
                authority: format!("{host}:{port}"),
                secure,
            }),
            Some(_) => Err(TargetError::BadPort(text.to_owned())),
            None if rest.trim_start_matches(host).is_empty() => {
                Err(TargetError::NoPort(rest.to_owned()))
            }
            None => Err(TargetError::BadPort(text.to_owned())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secure {
            out.write_str("https://")?;
        }
        out.write_str(&self.authority)
    }
}

impl Target {
    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Whether the server is called with TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The address as a URL without TLS: what is dialled before there is any.
    pub(crate) fn plain_url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_people_write() {
        for (text, shown) in [
            ("127.0.0.1:10000", "127.0.0.1:10000"),
            (" root.example:80 ", "root.example:80"),
            ("http://localhost:10000", "localhost:10000"),
            ("http://localhost:10000/", "localhost:10000"),
            ("[::1]:10100", "[::1]:10100"),
            ("https://root.example:10000/", "https://root.example:10000"),
            ("https://[::1]:1", "https://[::1]:1"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(
                target.to_string().parse::<Target>().unwrap(),
                target,
                "reads back"
            );
        }
    }

    #[test]
    fn refuses_the_rest_with_a_remedy() {
        for (text, error) in [
            ("", "is empty"),
            ("http://", "is empty"),
            (
                "localhost",
                "`localhost` has no port: write HOST:PORT, such as `localhost:10000`",
            ),
            ("http://localhost", "has no port"),
            ("localhost:", "no port from 1 to 65535"),
            ("localhost:0", "no port from 1 to 65535"),
            ("localhost:70000", "no port from 1 to 65535"),
            ("localhost:ten", "no port from 1 to 65535"),
            ("wss://localhost:10000", "`wss://` is not spoken here"),
            ("https://localhost", "has no port"),
            ("https://", "is empty"),
            ("unix:///run/x.sock", "`unix://` is not spoken here"),
            ("localhost:10000/api", "more than a host and a port"),
            ("user@localhost:10000", "more than a host and a port"),
            ("::1:10000", "in brackets"),
            (":10000", "is not HOST:PORT"),
            ("a b:10000", ""),
        ] {
            let refused = text.parse::<Target>().unwrap_err().to_string();
            assert!(refused.contains(error), "`{text}`: {refused}");
        }
    }
}
