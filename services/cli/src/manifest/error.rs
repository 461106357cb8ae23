//! What is wrong with a manifest, said so that its author can mend it: place, path, what was found, what to write.

use std::fmt;

use super::MAX_BYTES;

/// As many problems are shown at most; a file with more is usually wrong for one reason.
const SHOWN: usize = 20;

/// Why a manifest was refused. Nothing was sent to a server.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("read manifest `{name}`: {source}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than is sensible.
    #[error("{name}: more than {} KiB: split it into several files", MAX_BYTES / 1024)]
    TooLarge {
        /// The file.
        name: String,
    },
    /// It is not text.
    #[error("{name}:{line}: not UTF-8 text: save the file as UTF-8")]
    NotUtf8 {
        /// The file.
        name: String,
        /// Line of the first bad byte, from 1.
        line: usize,
    },
    /// It holds no document.
    #[error(
        "{name}: no document in it: a manifest begins with `application:`, see `edgeio apply --help`"
    )]
    Empty {
        /// The file.
        name: String,
    },
    /// Its documents are wrong.
    #[error("{}", render(name, problems))]
    Invalid {
        /// The file.
        name: String,
        /// What is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
    /// The program was built without its contract.
    #[error("this program lacks the description of its messages: install it again")]
    NoDescriptor,
}

impl ManifestError {
    pub(super) fn invalid(name: &str, problems: Vec<Problem>) -> Self {
        Self::Invalid {
            name: name.to_owned(),
            problems,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    line: usize,
    column: usize,
    document: Option<usize>,
    path: String,
    message: String,
    remedy: String,
}

impl Problem {
    pub(super) fn at(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            column,
            document: None,
            path: String::new(),
            message: message.into(),
            remedy: String::new(),
        }
    }

    pub(super) fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    pub(super) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub(super) fn in_document(mut self, number: Option<usize>) -> Self {
        self.document = number;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if let Some(number) = self.document {
            write!(f, "document {number}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.message)?;
        if !self.remedy.is_empty() {
            write!(f, ": {}", self.remedy)?;
        }
        Ok(())
    }
}

fn render(name: &str, problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems
        .iter()
        .take(SHOWN)
        .map(|problem| format!("{name}:{problem}"))
        .collect();
    if problems.len() > SHOWN {
        lines.push(format!("{name}: and {} more", problems.len() - SHOWN));
    }
    lines.join("\n")
}
