//! Figures of faults in one form: one line each, which `tools/figures` collects into a table.
//!
//! `figure: fault=NAME [phase=SECONDS ..] [configured:key=SECONDS ..]`. Phases are `detection` (until the tier says so), `stop`
//! (until what may not run has stopped), `replacement` (until a substitute runs) and `convergence` (until all is as before, from
//! the end of the fault). No test judges them: they are read against the configured times.

use std::{fmt::Write as _, io::Write as _, time::Duration};

/// What was measured of one fault.
#[derive(Debug)]
pub struct Figure {
    line: String,
}

impl Figure {
    /// Of a fault: a name without blanks.
    #[must_use]
    pub fn of(fault: &str) -> Self {
        Self {
            line: format!("figure: fault={fault}"),
        }
    }

    /// A phase took this long.
    #[must_use]
    pub fn took(mut self, phase: &str, time: Duration) -> Self {
        let _ = write!(self.line, " {phase}={:.1}", time.as_secs_f64());
        self
    }

    /// A time that the test configured.
    #[must_use]
    pub fn configured(mut self, key: &str, time: Duration) -> Self {
        let _ = write!(self.line, " configured:{key}={:.1}", time.as_secs_f64());
        self
    }

    /// Prints it, past the harness, which keeps what good tests print to itself.
    pub fn print(self) {
        let _ = writeln!(std::io::stderr(), "{}", self.line);
    }
}
