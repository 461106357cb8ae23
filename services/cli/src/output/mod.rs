//! Everything that is written: tables, JSON, progress and errors.
//!
//! Results go to standard output; progress, notes, questions and errors to standard error, so that a script can use a result while a person
//! follows.

pub(crate) mod json;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod text;

use std::io::{self, IsTerminal, Write};

use crate::error::CliError;

/// Where output goes and what it may look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// Whether a person reads the notes.
    pub(crate) notes_on_terminal: bool,
}

impl Out {
    pub(crate) fn new() -> Self {
        Self {
            notes_on_terminal: io::stderr().is_terminal(),
        }
    }

    /// Writes a result; `text` is ours or cleaned.
    pub(crate) fn result(self, text: &str) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') && !text.is_empty() {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()?;
        Ok(())
    }

    /// Tells the person beside it something. A note that cannot be written changes nothing.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", text::clean_lines(text));
    }

    /// Says why the command failed.
    pub(crate) fn error(self, text: &str) {
        let text = text::clean_lines(text);
        let _ = writeln!(io::stderr().lock(), "error: {text}");
    }

    /// Asks a yes-or-no question. Without a terminal nobody can answer, and the command line itself is the answer.
    pub(crate) fn confirm(self, question: &str) -> Result<bool, CliError> {
        if !self.notes_on_terminal || !io::stdin().is_terminal() {
            return Ok(true);
        }
        let mut stderr = io::stderr().lock();
        write!(stderr, "{} [y/N] ", text::clean_lines(question))?;
        stderr.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}
