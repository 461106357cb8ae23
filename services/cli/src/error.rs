//! Why a command ended without success, and the exit code that says so to a script.

use std::io;

use crate::manifest::ManifestError;

/// Why a command ended without success. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The manifest is wrong. Nothing was sent.
    #[error("{0}\nnothing was sent to the server")]
    Manifest(#[from] ManifestError),
    /// The command line is wrong, found after it was parsed.
    #[error("{0}")]
    Usage(String),
    /// The server found the input wrong.
    #[error("{0}")]
    Invalid(String),
    /// The server refused, or what was waited for did not come.
    #[error("{0}")]
    Failed(String),
    /// No answer from the server.
    #[error("{0}")]
    Unreachable(String),
    /// The result could not be written.
    #[error("write the result: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Output(_) => 1,
            Self::Manifest(_) | Self::Usage(_) | Self::Invalid(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }

    /// Whether the reader of the output has gone, as `head` does: no failure.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }
}
