//! TLS of the listener: off, by the built-in authority, or by one's own files; 1.3 only, on rustls with ring.
//!
//! [`Tls::open`] reads or makes the certificate before anything is served, so that a mistake ends the start with a clear
//! error. [`Tls::keep`] then looks every few seconds: what is due is renewed, files that changed are taken up for new
//! connections, and what cannot be used leaves the old certificate in place with one warning. Connections that stand are
//! never touched. Deliberately absent: client certificates (callers prove themselves by tokens inside the calls).

mod files;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::config::ServeConfig;
use crate::pki::{Lives, Pki, PkiError, now};
use crate::shutdown::Shutdown;
use crate::status::chain;

pub use files::FilesError;

crate::choice! {
    /// Where the certificate of a listener comes from.
    #[derive(Default)]
    pub enum TlsMode {
        /// No TLS.
        #[default]
        Off = "off",
        /// A built-in certificate authority in the data directory.
        Builtin = "builtin",
        /// The files `tls_cert` and `tls_key`.
        Files = "files",
    }
}

/// How often it is looked whether something changed or is due: soon enough for a person who waits for it.
const LOOK: Duration = Duration::from_secs(5);
/// The least such pause, for certificates that live for seconds.
const LEAST_LOOK: Duration = Duration::from_millis(200);

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The built-in authority failed.
    #[error("use the built-in certificate authority")]
    Pki(#[from] PkiError),
    /// One's own files are no good.
    #[error("use the certificate of `tls_cert` and `tls_key`")]
    Files(#[from] FilesError),
    /// The TLS library refuses.
    #[error("set up TLS")]
    Library(#[from] rustls::Error),
}

/// Where certificates come from.
#[derive(Debug)]
enum Source {
    Builtin { pki: Pki, names: Vec<String> },
    Files { certificate: PathBuf, key: PathBuf },
}

/// What is served now.
#[derive(Debug, Clone)]
struct Current {
    certified: Arc<CertifiedKey>,
    ca_hash: Option<String>,
}

/// The newest certificate, where the listener finds it.
#[derive(Debug)]
struct Holder(RwLock<Current>);

impl Holder {
    fn current(&self) -> Current {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ResolvesServerCert for Holder {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified)
    }
}

/// What a listener speaks TLS with. Clones share the certificate.
#[derive(Debug, Clone)]
pub struct Tls {
    source: Arc<Source>,
    holder: Arc<Holder>,
    config: Arc<ServerConfig>,
    look: Duration,
}

impl Tls {
    /// Reads or makes the certificate that the configuration asks for; `None` if it asks for no TLS.
    ///
    /// `subject` is what the server is called in the names of its authorities, `reached_as` are further `HOST` or
    /// `HOST:PORT` under which it is reached.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn open(
        serve: &ServeConfig,
        data_dir: &Path,
        subject: &str,
        reached_as: &[&str],
    ) -> Result<Option<Self>, TlsError> {
        let source = match serve.tls {
            TlsMode::Off => return Ok(None),
            TlsMode::Builtin => Source::Builtin {
                pki: Pki::new(data_dir, subject, serve.lives()),
                names: names(serve, reached_as),
            },
            // The configuration was refused without them.
            TlsMode::Files => Source::Files {
                certificate: serve.tls_cert.clone().unwrap_or_default(),
                key: serve.tls_key.clone().unwrap_or_default(),
            },
        };
        let current = source.read()?;
        let holder = Arc::new(Holder(RwLock::new(current)));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&holder) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let look = match serve.tls {
            TlsMode::Builtin => (serve.tls_leaf_life / 20).clamp(LEAST_LOOK, LOOK),
            TlsMode::Off | TlsMode::Files => LOOK,
        };
        Ok(Some(Self {
            source: Arc::new(source),
            holder,
            config: Arc::new(config),
            look,
        }))
    }

    /// The hash by which a client that knows nothing else recognises this server, in hexadecimal: that of the newest
    /// built-in authority, or of the last certificate in one's own file.
    #[must_use]
    pub fn ca_hash(&self) -> Option<String> {
        self.holder.current().ca_hash
    }

    /// What the listener needs.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Takes up what changed, until `stop`.
    pub async fn keep(self, stop: Shutdown) {
        let mut failure = String::new();
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(self.look) => {}
            }
            let tls = self.clone();
            // It reads files, and may wait for the command `ca`.
            let looked = tokio::task::spawn_blocking(move || tls.look());
            match looked.await {
                Ok(Ok(())) => failure.clear(),
                Ok(Err(error)) => {
                    let error = chain(&error);
                    // Once for each cause, not every few seconds.
                    if error != failure {
                        tracing::warn!(%error, "the certificate cannot be renewed; the old one is served on");
                    }
                    failure = error;
                }
                Err(error) => tracing::error!(%error, "looking after the certificate failed"),
            }
        }
    }

    /// Looks once.
    fn look(&self) -> Result<(), TlsError> {
        let new = self.source.read()?;
        let old = self.holder.current();
        if new.certified.cert == old.certified.cert {
            return Ok(());
        }
        tracing::info!(
            ca_hash = new.ca_hash,
            "a new certificate is served from now on"
        );
        *self
            .holder
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl Source {
    fn read(&self) -> Result<Current, TlsError> {
        let (chain, key, ca_hash) = match self {
            Self::Builtin { pki, names } => {
                let served = pki.tend(names, now())?;
                (served.chain, served.key, Some(served.ca_hash))
            }
            Self::Files { certificate, key } => {
                let (chain, key) = files::read(certificate, key)?;
                let last = chain.last().map(crate::pki::hash);
                (chain, key, last)
            }
        };
        let certified = certified(chain, key).map_err(|error| match self {
            Self::Files { certificate, key } => TlsError::Files(FilesError::Mismatch {
                certificate: certificate.clone(),
                key: key.clone(),
                source: error,
            }),
            Self::Builtin { .. } => TlsError::Library(error),
        })?;
        Ok(Current {
            certified: Arc::new(certified),
            ca_hash,
        })
    }
}

/// The one provider of cryptography. It is named wherever it is needed: a process-wide default may be missing.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes ring the default of this process for libraries that ask for one and panic without. Harmless when called again.
pub fn install_provider() {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A chain with its key, if they belong together.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(chain, key, &provider())
}

/// Under which names and addresses the server is reached: those that are configured, and what any machine knows of itself.
fn names(serve: &ServeConfig, reached_as: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        // Addresses in their one spelling, so that they compare.
        let name = name.parse::<std::net::IpAddr>().map_or_else(
            |_| name.to_ascii_lowercase(),
            |address| address.to_canonical().to_string(),
        );
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    };
    serve.tls_names.iter().for_each(|name| add(name));
    reached_as.iter().for_each(|address| add(host(address)));
    add(&hostname());
    if !serve.listen.ip().is_unspecified() {
        add(&serve.listen.ip().to_string());
    }
    ["localhost", "127.0.0.1", "::1"].into_iter().for_each(add);
    names
}

/// The host of `HOST`, `HOST:PORT` or `https://HOST:PORT`.
fn host(address: &str) -> &str {
    if address.parse::<SocketAddr>().is_err() && address.parse::<std::net::IpAddr>().is_ok() {
        return address;
    }
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let good = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let name = name.trim();
    if name.chars().all(good) {
        name.to_owned()
    } else {
        String::new()
    }
}

impl ServeConfig {
    /// How long the built-in authority's certificates live.
    #[must_use]
    pub fn lives(&self) -> Lives {
        Lives {
            ca: self.tls_ca_life,
            rotate_at: self.tls_ca_rotate_at,
            leaf: self.tls_leaf_life,
        }
    }
}
