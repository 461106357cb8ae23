//! Arguments that several commands take.

use std::{fmt, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};

/// The root's port; a cluster's is 10100 by default.
const DEFAULT_PORT: u16 = 10000;

/// Where the server is.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The root or cluster to ask, as HOST:PORT
    #[arg(long, global = true, env = "EDGEIO_SERVER", value_name = "HOST:PORT")]
    #[arg(default_value = "127.0.0.1:10000", help_heading = "Server")]
    pub server: ServerAddress,
}

/// A server's host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress(String);

impl ServerAddress {
    /// The address as a URI.
    pub fn uri(&self) -> String {
        format!("http://{}", self.0)
    }

    /// The port.
    pub fn port(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or_default()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        if bare.starts_with("https://") {
            return Err("TLS is not built in yet: write HOST:PORT".to_owned());
        }
        let (host, port) = match bare.rsplit_once(':') {
            // An IPv6 address has colons of its own: only one in brackets can have a port.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                let port = port.parse::<u16>().ok().filter(|port| *port > 0);
                (host, port.ok_or("the port is a number from 1 to 65535")?)
            }
            _ => (bare, DEFAULT_PORT),
        };
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c);
        if host.is_empty() || host.contains(odd) {
            return Err("write HOST:PORT, such as 192.0.2.10:10000".to_owned());
        }
        Ok(Self(format!("{host}:{port}")))
    }
}

/// Which namespace is meant.
#[derive(Debug, Args)]
pub struct NamespaceArgs {
    /// The namespace
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
}

/// How a result is written.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// How to write the result; `json` is the protobuf JSON form
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,
}

/// A form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// Whether to wait, and how long.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Follow it until it is done; exit with 1 if it fails or takes longer than the timeout
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, such as 90s or 10m
    #[arg(long, requires = "wait", value_name = "TIME", default_value = "5m")]
    #[arg(value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses() {
        let good = [
            ("10.0.0.1:99", "10.0.0.1:99"),
            ("root.example", "root.example:10000"),
            ("http://root.example:1/", "root.example:1"),
            ("[::1]:5", "[::1]:5"),
            ("::1", "[::1]:10000"),
        ];
        for (text, want) in good {
            assert_eq!(
                text.parse::<ServerAddress>().unwrap().to_string(),
                want,
                "{text}"
            );
        }
        for text in [
            "",
            ":1",
            "a:0",
            "a:70000",
            "a:b",
            "a b:1",
            "https://a:1",
            "a/b:1",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }
}
