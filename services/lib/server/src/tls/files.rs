//! A certificate and a key in files that somebody else looks after, such as certbot, cert-manager or a person.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};

/// Why such files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("`{}` has no {what} in PEM form", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: pem::Error,
    },
    /// They do not belong together. While both are being replaced that is so for a moment.
    #[error("`{}` is not the key of the first certificate in `{}`", key.display(), certificate.display())]
    Mismatch {
        /// The certificates.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the library says.
        #[source]
        source: rustls::Error,
    },
}

/// The chain, the server's own certificate first, and its key.
pub(super) fn read(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FilesError> {
    let open = |path: &Path| {
        fs::read(path).map_err(|source| FilesError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let content = |path: &Path, what, source| FilesError::Content {
        path: path.to_owned(),
        what,
        source,
    };
    let chain = CertificateDer::pem_slice_iter(&open(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|chain| {
            if chain.is_empty() {
                Err(pem::Error::NoItemsFound)
            } else {
                Ok(chain)
            }
        })
        .map_err(|source| content(certificate, "certificate", source))?;
    let key_content = open(key)?;
    let key = PrivateKeyDer::from_pem_slice(&key_content)
        .map_err(|source| content(key, "private key", source))?;
    Ok((chain, key))
}
