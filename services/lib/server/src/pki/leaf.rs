//! The server's own certificate: short-lived, signed by the newest authority, made again when anything of it is not as it
//! should be.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{
    PkiError, Seconds, Served,
    authority::{Authority, Facts, date},
    files::Dir,
    seconds, slack,
};

const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server.key";

/// What to serve with, made again if it is due. The authorities are in their order, at least one.
pub(super) fn serve(
    dir: &Dir,
    authorities: &[Authority],
    names: &[String],
    life: Duration,
    now: Seconds,
) -> Result<Served, PkiError> {
    let newest = authorities
        .last()
        .ok_or_else(|| PkiError::None(dir.path("")))?;
    let rest = after_the_leaf(authorities);
    if let Some(kept) = read(dir, &rest, names, now)? {
        return Ok(kept.with(newest));
    }
    let key = KeyPair::generate()?;
    let life = seconds(life);
    let mut params = CertificateParams::new(names).map_err(|_| unnameable(names))?;
    let mut subject = DistinguishedName::new();
    let first = names.first().map_or("edgeIO", String::as_str);
    subject.push(
        DnType::CommonName,
        first.chars().take(64).collect::<String>(),
    );
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date(now.saturating_sub(slack(life)))?;
    params.not_after = date(now.saturating_add(life).min(newest.ends))?;
    let leaf = params.signed_by(&key, &newest.issuer()?)?;
    // The key first: a certificate that is not of this key is found and made again.
    dir.write(KEY, &key.serialize_pem())?;
    dir.write(CERTIFICATE, &leaf.pem())?;
    tracing::info!(
        ?names,
        signed_by = newest.subject,
        "made the server's certificate"
    );
    let made = read(dir, &rest, names, now)?;
    let damaged = || PkiError::Damaged {
        path: dir.path(CERTIFICATE),
        why: "what was written is not what is there".to_owned(),
    };
    Ok(made.ok_or_else(damaged)?.with(newest))
}

/// What follows the leaf: the way from the newest authority down to the oldest, and each of them as it is, so that whoever
/// knows only one of them by its hash finds it there.
fn after_the_leaf(authorities: &[Authority]) -> Vec<CertificateDer<'static>> {
    let newest_first = || authorities.iter().rev();
    let cross = newest_first().filter_map(|one| one.cross_by(authorities));
    let own = newest_first().map(|one| &one.certificate);
    cross.chain(own).cloned().collect()
}

struct Kept {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Kept {
    fn with(self, newest: &Authority) -> Served {
        Served {
            chain: self.chain,
            key: self.key,
            ca_hash: newest.hash(),
        }
    }
}

/// The files' content, if it is as it should be. What is not is no error: it is made again.
fn read(
    dir: &Dir,
    rest: &[CertificateDer<'static>],
    names: &[String],
    now: Seconds,
) -> Result<Option<Kept>, PkiError> {
    let (Some(certificate), Some(key)) = (dir.read(CERTIFICATE)?, dir.read(KEY)?) else {
        return Ok(None);
    };
    let (Ok(leaf), Ok(key)) = (
        CertificateDer::from_pem_slice(&certificate),
        PrivateKeyDer::from_pem_slice(&key),
    ) else {
        return Ok(None);
    };
    let newest = rest.iter().find_map(|one| {
        let facts = Facts::of(one).ok()?;
        (facts.subject == facts.issuer).then_some(facts.subject)
    });
    let Ok(facts) = Facts::of(&leaf) else {
        return Ok(None);
    };
    let life = facts.ends.saturating_sub(facts.begins);
    let renew = facts.begins.saturating_add(life / 3 * 2);
    let good = now < renew
        && now >= facts.begins
        && facts.names == names
        && Some(&facts.issuer) == newest.as_ref();
    if !good {
        return Ok(None);
    }
    let chain = std::iter::once(leaf).chain(rest.iter().cloned()).collect();
    let kept = Kept { chain, key };
    Ok(
        crate::tls::certified(kept.chain.clone(), kept.key.clone_key())
            .is_ok()
            .then_some(kept),
    )
}

/// The first name that no certificate can have.
fn unnameable(names: &[String]) -> PkiError {
    let bad = |name: &&String| CertificateParams::new(vec![(*name).clone()]).is_err();
    let name = names.iter().find(bad);
    PkiError::Name(name.cloned().unwrap_or_default())
}
