//! Verifies the server's certificate, and learns which authorities it has.
//!
//! The verification itself is the library's; here it is only decided against which authorities, and what to keep after it.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::trust::{Trust, TrustError};

#[derive(Debug)]
pub(super) struct Verifier {
    trust: Arc<Trust>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(trust: Arc<Trust>, provider: Arc<CryptoProvider>) -> Self {
        Self { trust, provider }
    }
}

fn other(error: TrustError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut believed = self.trust.known().map_err(other)?;
        let pinned = self.trust.pinned(shown.iter().chain([leaf]));
        match (self.trust.given_hash(), &pinned) {
            (Some(hash), None) if believed.is_empty() => {
                return Err(other(TrustError::OtherAuthority(hash)));
            }
            _ => believed.extend(pinned),
        }
        let own = !believed.is_empty();
        let anchors = if own { &believed } else { self.trust.system() };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(anchors.iter().cloned());
        if roots.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        let roots = Arc::new(roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(leaf, shown, name, ocsp, now)?;
        if own {
            let kept = vouched(leaf, shown, &believed, &roots.roots, &self.provider, now);
            self.trust.keep(&kept);
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The authorities among the shown ones that are believed: those that were before, and those whose very key a believed one
/// has signed on the way to the leaf. That the server shows them is not enough: whoever stole its key could show others.
fn vouched(
    leaf: &CertificateDer<'_>,
    shown: &[CertificateDer<'_>],
    believed: &[CertificateDer<'static>],
    anchors: &[TrustAnchor<'static>],
    provider: &CryptoProvider,
    now: UnixTime,
) -> Vec<CertificateDer<'static>> {
    let keys = signed_keys(leaf, shown, anchors, provider, now);
    let mut kept: Vec<CertificateDer<'static>> = Vec::new();
    for certificate in shown.iter().chain([leaf]) {
        let is_new = is_self_issued(certificate)
            && anchor_from_trusted_cert(certificate)
                .is_ok_and(|anchor| keys.contains(&key_of(&anchor)));
        if (is_new || believed.contains(certificate)) && !kept.contains(certificate) {
            kept.push(certificate.clone().into_owned());
        }
    }
    kept
}

/// A subject with its key: what makes an authority the same in two certificates.
type Key = (Vec<u8>, Vec<u8>);

fn key_of(anchor: &TrustAnchor<'_>) -> Key {
    (
        anchor.subject.to_vec(),
        anchor.subject_public_key_info.to_vec(),
    )
}

/// The authorities between the leaf and whom is believed.
fn signed_keys(
    leaf: &CertificateDer<'_>,
    shown: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'static>],
    provider: &CryptoProvider,
    now: UnixTime,
) -> Vec<Key> {
    let Ok(leaf) = EndEntityCert::try_from(leaf) else {
        return Vec::new();
    };
    let path = leaf.verify_for_usage(
        provider.signature_verification_algorithms.all,
        anchors,
        shown,
        now,
        KeyUsage::server_auth(),
        None,
        None,
    );
    let Ok(path) = path else { return Vec::new() };
    path.intermediate_certificates()
        .filter_map(|between| {
            anchor_from_trusted_cert(&between.der())
                .ok()
                .map(|anchor| key_of(&anchor))
        })
        .collect()
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate).is_ok_and(|read| read.issuer() == read.subject())
}
