//! Why there is no authority, or none that can be used.

use std::{io, path::PathBuf};

/// A failure of the built-in certificate authority.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or the directory.
    #[error("access `{}`", path.display())]
    Access {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file has something else in it.
    #[error("`{}` is damaged ({why}): restore it from a backup", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Making a key or a certificate failed.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    /// A name that no certificate can have.
    #[error("`{0}` is neither a host name nor an address (see `tls_names`)")]
    Name(String),
    /// A time outside of what certificates can say.
    #[error("the clock or a life time is out of range: {0} s after 1970")]
    Time(i64),
    /// Nothing was made yet.
    #[error("there is no certificate authority in `{}`: it is made when the server starts with `tls` = `builtin`", .0.display())]
    None(PathBuf),
    /// No authority has this hash.
    #[error("no authority's hash begins with `{0}`: see `ca show`, and give at least eight digits")]
    NoSuch(String),
    /// The newest authority cannot be dropped.
    #[error("this is the authority that signs: make another one first, by `ca rotate`")]
    Signs,
}
