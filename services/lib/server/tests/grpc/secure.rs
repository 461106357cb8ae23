//! The server behind TLS: good callers are served whatever others do at the same port.

use std::sync::Arc;
use std::time::Duration;

use edgeio_server::auth::AUTHORIZATION;
use edgeio_server::config::ServeConfig;
use edgeio_server::tls::{Tls, TlsMode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tower::service_fn;

use crate::support::{PATIENCE, Running, get};
use edgeio_proto::api::v1::ApplyRequest;
use edgeio_proto::api::v1::application_service_client::ApplicationServiceClient;

struct Place {
    dir: tempfile::TempDir,
    serve: ServeConfig,
}

impl Place {
    fn new(insecure: bool) -> Self {
        let serve = ServeConfig {
            tls: TlsMode::Builtin,
            insecure,
            ..ServeConfig::default()
        };
        let dir = tempfile::tempdir().unwrap();
        Self { dir, serve }
    }

    async fn start(&self) -> Running {
        let tls = Tls::open(&self.serve, self.dir.path(), "test", &[]).unwrap();
        Running::secured(Arc::new(self.serve.local()), tls).await
    }

    async fn handshake(
        &self,
        server: &Running,
        version: &'static SupportedProtocolVersion,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_file_iter(self.dir.path().join("pki/ca.pem")).unwrap() {
            roots.add(ca.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let socket = TcpStream::connect(server.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
    }

    async fn client(&self, server: &Running) -> ApplicationServiceClient<Channel> {
        let stream = self.handshake(server, &version::TLS13).await.unwrap();
        let mut stream = Some(TokioIo::new(stream));
        let once = service_fn(move |_| {
            let stream = stream.take();
            async move { stream.ok_or_else(|| std::io::Error::other("only once")) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        ApplicationServiceClient::new(endpoint.connect_with_connector(once).await.unwrap())
    }
}

#[tokio::test]
async fn a_call_without_credential_is_nobodys_even_from_here() {
    let place = Place::new(false);
    let server = place.start().await;
    let mut client = place.client(&server).await;
    let refused = client.get(get("x")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    server.trigger.fire();
    let _ = server.ended().await;
}

#[tokio::test]
async fn who_allows_it_has_tls_without_credentials() {
    let place = Place::new(true);
    let server = place.start().await;
    let mut client = place.client(&server).await;
    let answer = client
        .apply(ApplyRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.application.unwrap().owner, "dev admin");
    let mut with = Request::new(ApplyRequest::default());
    with.metadata_mut()
        .insert(AUTHORIZATION, "Bearer x".parse().unwrap());
    assert_eq!(
        client.apply(with).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    server.trigger.fire();
    let _ = server.ended().await;
}

#[tokio::test]
async fn silent_and_broken_connections_harm_nobody() {
    let place = Place::new(true);
    let server = place.start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    for junk in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0x16, 3, 1, 255, 255],
        &[0; 64],
    ] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(junk).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        // Hung up on, with or without an alert.
        let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said))
            .await
            .unwrap();
        assert!(said.len() < 64, "{said:?}");
    }
    let mut client = tokio::time::timeout(PATIENCE, place.client(&server))
        .await
        .unwrap();
    assert_eq!(
        client.get(get("x")).await.unwrap_err().code(),
        Code::NotFound
    );
    drop(silent);
    server.trigger.fire();
    let _ = server.ended().await;
}

#[tokio::test]
async fn only_tls_1_3_is_spoken() {
    let place = Place::new(true);
    let server = place.start().await;
    place.handshake(&server, &version::TLS13).await.unwrap();
    let error = place.handshake(&server, &version::TLS12).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    server.trigger.fire();
    let _ = server.ended().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_served_while_old_connections_go_on() {
    let mut place = Place::new(true);
    place.serve.tls_leaf_life = Duration::from_secs(10);
    let server = place.start().await;
    let old = place.handshake(&server, &version::TLS13).await.unwrap();
    let leaf = |stream: &TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    };
    let mut client = place.client(&server).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let new = place.handshake(&server, &version::TLS13).await.unwrap();
        if leaf(&new) != leaf(&old) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "no new certificate");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        client.get(get("x")).await.unwrap_err().code(),
        Code::NotFound
    );
    server.trigger.fire();
    let _ = server.ended().await;
}
