//! Watches what a test's code logs: a WARN or ERROR of ours that the test did not announce fails
//! it. "ERROR means that a human must look" is only true while tests keep it so.
//!
//! Covers the thread that started the capture, hence what a current-thread runtime runs on it.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// One event at WARN or ERROR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `Level::WARN` or `Level::ERROR`.
    pub level: Level,
    /// The constant message.
    pub message: String,
    /// The fields as `name=value`, joined by spaces.
    pub fields: String,
}

/// A running capture; ask it by [`Capture::finish`] at the end of the test.
#[must_use = "a capture that is not finished checks nothing"]
#[derive(Debug)]
pub struct Capture {
    seen: Arc<Mutex<Vec<Seen>>>,
    expected: Vec<&'static str>,
    guard: tracing::subscriber::DefaultGuard,
}

impl Capture {
    /// Captures on this thread from here on.
    pub fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let subscriber = Registry::default().with(CountingLayer {
            seen: Arc::clone(&seen),
        });
        let guard = tracing::subscriber::set_default(subscriber);
        Self {
            seen,
            expected: Vec::new(),
            guard,
        }
    }

    /// Announces a message. It must be logged at least once, else [`Capture::finish`] fails.
    pub fn expect(mut self, message: &'static str) -> Self {
        self.expected.push(message);
        self
    }

    /// What was logged so far at WARN and ERROR.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends the capture.
    ///
    /// # Errors
    /// A text that lists events which were not announced and announced ones that did not come.
    pub fn finish(self) -> Result<(), String> {
        let seen = self.seen();
        drop(self.guard);
        let mut report = String::new();
        for event in &seen {
            if !self.expected.contains(&event.message.as_str()) {
                let Seen {
                    level,
                    message,
                    fields,
                } = event;
                let _ = writeln!(report, "unexpected {level}: {message} {fields}");
            }
        }
        for message in &self.expected {
            if !seen.iter().any(|event| event.message == *message) {
                let _ = writeln!(report, "announced but not logged: {message}");
            }
        }
        if report.is_empty() {
            Ok(())
        } else {
            Err(report)
        }
    }
}

struct CountingLayer {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for CountingLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = *event.metadata().level();
        // Lower levels order higher. Libraries warn by their own rules, not by ours.
        if level > Level::WARN || !event.metadata().target().starts_with("edgeio") {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        let seen = Seen {
            level,
            message: words.message,
            fields: words.fields.trim().to_owned(),
        };
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(seen);
    }
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, "{name}={value:?} "),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_test_passes_and_lower_levels_do_not_count() {
        let capture = Capture::start();
        tracing::info!("all is well");
        assert_eq!(capture.finish(), Ok(()));
    }

    #[test]
    fn an_unannounced_warning_fails_with_its_fields() {
        let capture = Capture::start();
        tracing::warn!(worker = "w1", "lease missed");
        let report = capture.finish().unwrap_err();
        assert!(
            report.contains("unexpected WARN: lease missed worker=\"w1\""),
            "{report}"
        );
    }

    #[test]
    fn an_announced_error_passes_and_must_come() {
        let capture = Capture::start().expect("request failed");
        tracing::error!("request failed");
        assert_eq!(capture.finish(), Ok(()));
        let report = Capture::start()
            .expect("request failed")
            .finish()
            .unwrap_err();
        assert!(
            report.contains("announced but not logged: request failed"),
            "{report}"
        );
    }

    #[test]
    fn libraries_do_not_count() {
        let capture = Capture::start();
        tracing::warn!(target: "h2::proto", "their business");
        assert_eq!(capture.finish(), Ok(()));
    }
}
