//! What can be wrong with a configuration, and all of it in one report.

use std::fmt;
use std::path::PathBuf;

use super::join;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The code's own default.
    Default,
    /// The file given by `--config`.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag, without its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path) => write!(out, "file {}", path.display()),
            Self::Environment(name) => write!(out, "environment {name}"),
            Self::Flag(name) => write!(out, "flag --{name}"),
        }
    }
}

/// One thing to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key's path, or the file, variable or flag when there is no such key.
    pub path: String,
    /// Where the bad value stands; `None` for rules across keys.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.path)?;
        if let Some(origin) = &self.origin {
            write!(out, " ({origin})")?;
        }
        write!(out, ": {}\n    {}", self.message, self.remedy)
    }
}

/// Every problem of a configuration. Its `Display` is what the user sees.
#[derive(Debug)]
pub struct ConfigErrors {
    /// The binary's name.
    pub program: String,
    /// At least one; in the order in which they were met.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// The exit code of a configuration error: `EX_USAGE` of sysexits.
    pub const EXIT_CODE: u8 = 64;
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(out, "{}: {count} {noun} in the configuration", self.program)?;
        for problem in &self.problems {
            write!(out, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Where [`super::Validate`] puts what it finds.
#[derive(Debug)]
pub struct Check<'a> {
    section: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Check<'a> {
    /// A check of the section at `section`; the empty path is the top.
    #[doc(hidden)]
    pub fn new(section: &'a str, problems: &'a mut Vec<Problem>) -> Self {
        Self { section, problems }
    }

    /// Reports that the key `field` of this section breaks a rule, and what to do about it.
    pub fn fail(&mut self, field: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem {
            path: join(self.section, field),
            origin: None,
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    /// The flag of a field of this section with its dashes, for remedies.
    #[must_use]
    pub fn flag(&self, field: &str) -> String {
        format!("--{}", super::flag_name(&join(self.section, field)))
    }
}
