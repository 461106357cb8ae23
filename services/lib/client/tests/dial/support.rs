//! Authorities, servers that show what they are told to, and clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeio_client::{Dialer, Options, Proxy, Target, Trust, explain_status};
use edgeio_proto::root::v1::ListRequest;
use edgeio_proto::root::v1::cluster_service_client::ClusterServiceClient;
use futures::StreamExt as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Bounds what a defect could hang; nothing here depends on how fast it is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) own: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let own = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, own }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// This one's key, certified by an older one.
    pub(crate) fn cross(&self, by: &Self) -> CertificateDer<'static> {
        self.params
            .signed_by(&self.key, &by.issuer())
            .unwrap()
            .der()
            .clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    /// The hash of what [`Authority::own`] is.
    pub(crate) fn hash(&self) -> String {
        use sha2::Digest as _;
        hex::encode(sha2::Sha256::digest(&self.own))
    }

    /// A certificate with its key, for these years.
    pub(crate) fn leaf(
        &self,
        name: &str,
        years: (i32, i32),
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let leaf = params.signed_by(&key, &self.issuer()).unwrap();
        (
            leaf.der().clone(),
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
    }
}

pub(crate) const ALWAYS: (i32, i32) = (2000, 4000);

/// Answers every call with UNIMPLEMENTED, which proves that it was reached.
pub(crate) async fn plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let serving = Server::builder().add_service(health);
    tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

/// The same behind TLS, with a certificate for `localhost` and what else to show.
pub(crate) async fn secure(by: &Authority, shown: &[CertificateDer<'static>]) -> SocketAddr {
    with_leaf(by.leaf("localhost", ALWAYS), shown).await
}

pub(crate) async fn with_leaf(
    (leaf, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    shown: &[CertificateDer<'static>],
) -> SocketAddr {
    let chain = std::iter::once(leaf).chain(shown.iter().cloned()).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpIncoming::from(listener).filter_map(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(socket.unwrap()).await.ok()?;
            // tonic takes streams that tell their peer.
            let (outside, mut inside) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut inside).await });
            Some(Ok::<_, std::io::Error>(outside))
        }
    });
    let (_, health) = tonic_health::server::health_reporter();
    let serving = Server::builder().add_service(health);
    tokio::spawn(serving.serve_with_incoming(incoming.boxed()));
    address
}

pub(crate) fn https(address: SocketAddr) -> String {
    format!("https://localhost:{}", address.port())
}

/// Calls once: `Ok` if the server was reached, else what a person is shown.
pub(crate) async fn call(trust: Trust, proxy: &str, target: &str) -> Result<(), String> {
    let dialer = Dialer::new(trust, proxy.parse::<Proxy>().unwrap());
    let target: Target = target.parse().unwrap();
    let calling = async {
        let channel = dialer.connect(&target, &Options::default()).unwrap();
        let answer = ClusterServiceClient::new(channel)
            .list(ListRequest::default())
            .await;
        let status = answer.unwrap_err();
        match status.code() {
            tonic::Code::Unimplemented => Ok(()),
            _ => Err(explain_status(&status).join("\n")),
        }
    };
    tokio::time::timeout(PATIENCE, calling).await.unwrap()
}
