//! An OpenID provider's keys: a file that somebody keeps current, or an `https` address that is asked.
//!
//! A file is read for each token. An address is asked at the first token, when what it told is old, and when a token names a key
//! that is not known; the last alone can be brought about by strangers, so it happens once in a while at most. While an address
//! does not answer, what it told last holds: a provider that is away shuts nobody out, and a key that it withdrew meanwhile goes on
//! to be believed until it answers. Whoever brings a key that is known waits for nobody. Deliberately absent: redirects, proxies, and
//! discovery by `.well-known` (an operator copies one address).

use std::{
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body::Body as _;
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::JwkSet;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::body::Body;

use super::AuthError;
use crate::warn_seldom;

/// How long the provider may take. Logins wait for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest key set: some ten keys with their certificates have 30 KiB.
const LARGEST: usize = 256 * 1024;

/// When an address is asked.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// What is older is asked for again. Providers announce a key for hours or days before they sign with it, and this is also how
    /// long a key that was withdrawn is believed.
    old: Duration,
    /// Between two questions, whatever strangers send.
    least: Duration,
}

const PACE: Pace = Pace {
    old: Duration::from_secs(15 * 60),
    least: Duration::from_secs(10),
};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("read `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("it is no JSON Web Key Set")]
    Form(#[from] serde_json::Error),
    #[error("`{0}` is no address that can be asked: write `https://HOST/PATH`")]
    Address(String),
    #[error("the provider's host has no name that a certificate can have")]
    Host(#[from] InvalidDnsNameError),
    #[error("reach the provider")]
    Reach(#[source] io::Error),
    #[error("prepare TLS")]
    Tls(#[from] rustls::Error),
    #[error("ask the provider")]
    Http(#[from] hyper::Error),
    #[error("the provider answers {0}")]
    Answer(StatusCode),
    #[error("the provider's answer is longer than {LARGEST} bytes")]
    Long,
    #[error("the provider did not answer within {PATIENCE:?}")]
    Late,
    #[error("the provider was asked a moment ago")]
    Soon,
}

/// Where the keys are.
#[derive(Debug, Clone)]
pub(super) enum KeySet {
    File(PathBuf),
    Address(Arc<Remote>),
}

impl KeySet {
    /// The keys, among which the one that a token names should be.
    pub(super) async fn with(&self, kid: Option<&str>) -> Result<Arc<JwkSet>, AuthError> {
        let keys = match self {
            Self::File(path) => from_file(path).await.map(Arc::new),
            Self::Address(remote) => remote.with(kid).await,
        };
        keys.map_err(|error| {
            let chain = crate::status::chain(&error);
            match error {
                KeySetError::Soon => {}
                _ => tracing::error!(error = chain, "the provider's keys cannot be read"),
            }
            AuthError::Unavailable(Box::new(error))
        })
    }
}

async fn from_file(path: &Path) -> Result<JwkSet, KeySetError> {
    let bytes = tokio::fs::read(path).await;
    let bytes = bytes.map_err(|source| KeySetError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// What was told, and when.
#[derive(Debug, Clone)]
struct Told {
    keys: Arc<JwkSet>,
    at: Instant,
}

/// Keys that are asked for.
#[derive(Debug)]
pub(super) struct Remote {
    address: Uri,
    ca: Option<PathBuf>,
    pace: Pace,
    told: Mutex<Option<Told>>,
    /// When it was asked last; locked while it is.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

/// Whether an address can be asked.
pub(super) fn parse(address: &str) -> Result<Uri, KeySetError> {
    let wrong = || KeySetError::Address(address.to_owned());
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    let good = uri.scheme_str() == Some("https") && uri.host().is_some();
    good.then_some(uri).ok_or_else(wrong)
}

impl Remote {
    /// Keys at an address whose server is believed by the authorities in `ca`, or else by those of the system.
    pub(super) fn new(address: Uri, ca: Option<PathBuf>) -> Self {
        Self {
            address,
            ca,
            pace: PACE,
            told: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
        }
    }

    fn told(&self) -> Option<Told> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    async fn with(&self, kid: Option<&str>) -> Result<Arc<JwkSet>, KeySetError> {
        let has = |told: &Told| kid.is_none_or(|kid| told.keys.find(kid).is_some());
        let known = self.told().filter(has);
        let mut asked = match &known {
            Some(told) if told.at.elapsed() < self.pace.old => return Ok(told.keys.clone()),
            // One of those who come asks; the others go on with what there is.
            Some(told) => match self.asked.try_lock() {
                Ok(asked) => asked,
                Err(_busy) => return Ok(told.keys.clone()),
            },
            None => self.asked.lock().await,
        };
        // Somebody may have asked while this one waited.
        let last = self.told();
        let is_fresh = |told: &&Told| has(told) && told.at.elapsed() < self.pace.old;
        if let Some(told) = last.as_ref().filter(is_fresh) {
            return Ok(told.keys.clone());
        }
        let soon = asked.is_some_and(|at| at.elapsed() < self.pace.least);
        let answer = if soon {
            Err(KeySetError::Soon)
        } else {
            *asked = Some(Instant::now());
            let answer = timeout(PATIENCE, self.ask()).await;
            answer.unwrap_or(Err(KeySetError::Late))
        };
        match (answer, last) {
            (Ok(keys), _) => {
                let keys = Arc::new(keys);
                let at = Instant::now();
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                *told = Some(Told {
                    keys: keys.clone(),
                    at,
                });
                Ok(keys)
            }
            (Err(KeySetError::Soon), Some(last)) => Ok(last.keys),
            (Err(error), Some(last)) => {
                let error = crate::status::chain(&error);
                warn_seldom!(address = %self.address, error, "the provider's keys cannot be asked for: those that it told last hold");
                Ok(last.keys)
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn ask(&self) -> Result<JwkSet, KeySetError> {
        let host = self.address.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned())?;
        let port = self.address.port_u16().unwrap_or(443);
        let socket = TcpStream::connect((name.to_str().as_ref(), port)).await;
        let socket = socket.map_err(KeySetError::Reach)?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let stream = connector.connect(name, socket).await;
        let stream = TokioIo::new(stream.map_err(KeySetError::Reach)?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        // Ends with the sender; what goes wrong there is told here.
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .uri(
                self.address
                    .path_and_query()
                    .map_or("/", |path| path.as_str()),
            )
            .header(
                header::HOST,
                self.address.authority().map_or(host, |a| a.as_str()),
            )
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("edgeio/", env!("CARGO_PKG_VERSION")),
            )
            .body(Body::empty())
            .map_err(|_| KeySetError::Address(self.address.to_string()))?;
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(KeySetError::Answer(answer.status()));
        }
        let text = whole(answer.into_body()).await?;
        connection.abort();
        Ok(serde_json::from_slice(&text)?)
    }

    fn config(&self) -> Result<ClientConfig, KeySetError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                let failed = |why: rustls::pki_types::pem::Error| KeySetError::File {
                    path: path.clone(),
                    source: io::Error::other(why),
                };
                for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
                    roots.add(certificate.map_err(failed)?)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions()?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

/// A body to its end.
async fn whole(mut body: hyper::body::Incoming) -> Result<Vec<u8>, KeySetError> {
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let data: Bytes = frame?.into_data().unwrap_or_default();
        if all.len() + data.len() > LARGEST {
            return Err(KeySetError::Long);
        }
        all.extend_from_slice(&data);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{ServerConfig, pki_types::PrivateKeyDer};
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::telemetry::Capture;

    /// A provider that answers what it is told to.
    struct Provider {
        address: String,
        ca: tempfile::NamedTempFile,
        answer: Arc<Mutex<String>>,
        asked: Arc<AtomicUsize>,
    }

    fn keys(kids: &[&str]) -> String {
        let key = |kid: &&str| json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "AA"});
        let keys: Vec<_> = kids.iter().map(key).collect();
        json!({ "keys": keys }).to_string()
    }

    fn good(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    impl Provider {
        async fn start(name: &str) -> Self {
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            let ca = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(ca.path(), cert.pem()).unwrap();
            let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![cert.der().clone()], key)
                .unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let answer = Arc::new(Mutex::new(good(&keys(&["1"]))));
            let asked = Arc::new(AtomicUsize::new(0));
            let (said, count) = (answer.clone(), asked.clone());
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let Ok(mut stream) = acceptor.accept(socket).await else {
                        continue;
                    };
                    let mut request = [0; 1024];
                    let read = stream.read(&mut request).await.unwrap();
                    let request = String::from_utf8_lossy(&request[..read]).into_owned();
                    assert!(
                        request.starts_with("GET /keys?v=1 HTTP/1.1\r\n"),
                        "{request}"
                    );
                    count.fetch_add(1, Ordering::SeqCst);
                    let answer = said.lock().unwrap().clone();
                    // The client may hang up before a long answer's end.
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
            Self {
                address: format!("https://localhost:{port}/keys?v=1"),
                ca,
                answer,
                asked,
            }
        }

        fn answers(&self, answer: String) {
            *self.answer.lock().unwrap() = answer;
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }

        fn remote(&self, pace: Pace) -> Remote {
            let ca = Some(self.ca.path().to_owned());
            Remote {
                pace,
                ..Remote::new(parse(&self.address).unwrap(), ca)
            }
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const ALWAYS: Duration = Duration::ZERO;

    async fn knows(remote: &Remote, kid: &str) -> bool {
        remote.with(Some(kid)).await.unwrap().find(kid).is_some()
    }

    #[tokio::test]
    async fn keys_are_asked_for_once_and_again_for_one_that_is_not_known() {
        let provider = Provider::start("localhost").await;
        let remote = provider.remote(Pace {
            old: HOUR,
            least: ALWAYS,
        });
        for _ in 0..20 {
            assert!(knows(&remote, "1").await);
        }
        assert_eq!(provider.asked(), 1);
        provider.answers(good(&keys(&["2", "3"])));
        assert!(knows(&remote, "2").await);
        assert!(knows(&remote, "3").await);
        assert_eq!(provider.asked(), 2);
        assert!(!knows(&remote, "1").await, "it was withdrawn");
    }

    #[tokio::test]
    async fn strangers_make_nobody_ask_often() {
        let provider = Provider::start("localhost").await;
        let remote = provider.remote(Pace {
            old: HOUR,
            least: HOUR,
        });
        let strangers = (0..50).map(|n| {
            let remote = &remote;
            async move { knows(remote, &format!("none-{n}")).await }
        });
        let known = futures::future::join_all(strangers).await;
        assert!(known.iter().all(|known| !known));
        assert_eq!(provider.asked(), 1);
        assert!(knows(&remote, "1").await);
    }

    #[tokio::test]
    async fn what_was_told_last_holds_while_the_provider_fails() {
        let provider = Provider::start("localhost").await;
        let remote = provider.remote(Pace {
            old: ALWAYS,
            least: ALWAYS,
        });
        assert!(knows(&remote, "1").await);
        let capture = Capture::start()
            .expect("the provider's keys cannot be asked for: those that it told last hold");
        let long = "x".repeat(LARGEST + 1);
        for broken in [
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "HTTP/1.1 302 Found\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
            good("{}"),
            good("what"),
            good(&long),
            "no HTTP".to_owned(),
            String::new(),
        ] {
            let before = provider.asked();
            provider.answers(broken);
            assert!(knows(&remote, "1").await);
            assert_eq!(provider.asked(), before + 1);
        }
        capture.finish().unwrap();
        provider.answers(good(&keys(&["2"])));
        assert!(knows(&remote, "2").await);
    }

    #[tokio::test]
    async fn only_the_providers_own_server_is_believed() {
        let (one, other) = (
            Provider::start("localhost").await,
            Provider::start("localhost").await,
        );
        let pace = Pace {
            old: HOUR,
            least: ALWAYS,
        };
        let ca = Some(other.ca.path().to_owned());
        let remote = Remote {
            pace,
            ..Remote::new(parse(&one.address).unwrap(), ca)
        };
        assert!(matches!(
            remote.with(None).await,
            Err(KeySetError::Reach(_))
        ));
        let misnamed = Provider::start("elsewhere").await;
        let refused = misnamed.remote(pace).with(None).await;
        assert!(matches!(refused, Err(KeySetError::Reach(_))));
        assert_eq!((one.asked(), misnamed.asked()), (0, 0));
        for wrong in ["http://localhost/keys", "keys.json", "https://", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
