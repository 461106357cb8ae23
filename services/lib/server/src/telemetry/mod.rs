//! Logs: constant lowercase messages with fields, to standard error, as text or JSON.
//!
//! Standard output belongs to what a program was asked to print. Metrics and traces to a
//! collector are deliberately absent here; they come as further layers of the same registry.

mod capture;
mod seldom;

pub use capture::{Capture, Seen};
pub use seldom::Seldom;

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::{Validate, Value};

crate::choice! {
    /// How log lines look.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line, for collectors.
        Json = "json",
    }
}

/// Which events are logged, in the directives of `tracing_subscriber::EnvFilter`; verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        // The broker's client tells each lost message as news, and each attempt to connect as an error; what matters of it is told by ours. HTTP/2's library warns of each
        // connection that misbehaves: whoever reaches the port could fill the log.
        Self("info,async_nats=warn,async_nats::connector=off,h2=error".to_owned())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("`{text}` is no log filter: {error}")),
        }
    }
}

impl Value for LogFilter {
    // People who know the ecosystem try this one first.
    const FALLBACK_ENV: Option<&'static str> = Some("RUST_LOG");

    fn expected() -> String {
        "a level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as \
         `info,edgeio_link=debug`"
            .to_owned()
    }
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
    fn to_toml(&self) -> Option<toml::Value> {
        Some(toml::Value::String(self.0.clone()))
    }
}

crate::config! {
    /// What is logged and how. Used by [`Flat`](crate::config::Flat).
    pub struct TelemetryConfig {
        /// What is logged: a level, or directives such as `info,edgeio_link=debug`. `RUST_LOG` is
        /// read when nothing else says.
        pub log: LogFilter,
        /// How log lines look: `text` for people, `json` for collectors.
        pub log_format: LogFormat = LogFormat::Text,
    }
}

impl Validate for TelemetryConfig {}

/// Starts logging for the whole process.
///
/// # Errors
/// When the process logs already.
pub fn init(config: &TelemetryConfig) -> Result<(), TryInitError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(EnvFilter::new(&config.log.0));
    match config.log_format {
        LogFormat::Text => registry
            .with(lines.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
}
