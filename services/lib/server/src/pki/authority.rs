//! One certificate authority: its certificate, its key, and what the one before it says of its key.

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use time::OffsetDateTime;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate, x509::X509Name};

use super::{PkiError, Seconds, files::Dir, hash, seconds, slack};

/// What people are shown of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The SHA-256 of its certificate, in hexadecimal.
    pub hash: String,
    /// Its subject.
    pub subject: String,
    /// When its validity begins, in seconds since 1970.
    pub begins: i64,
    /// When it ends, in seconds since 1970.
    pub ends: i64,
}

impl From<&Authority> for Known {
    fn from(authority: &Authority) -> Self {
        Self {
            hash: authority.hash(),
            subject: authority.subject.clone(),
            begins: authority.begins,
            ends: authority.ends,
        }
    }
}

/// An authority, read from its files.
#[derive(Debug)]
pub(super) struct Authority {
    /// Counts up; the highest one signs.
    pub(super) number: u32,
    pub(super) subject: String,
    pub(super) begins: Seconds,
    pub(super) ends: Seconds,
    pub(super) certificate: CertificateDer<'static>,
    /// Its key, certified by an authority before it.
    pub(super) cross: Option<CertificateDer<'static>>,
    key: KeyPair,
    pem: String,
}

impl Authority {
    /// All that are in the directory, oldest first.
    pub(super) fn read_all(dir: &Dir) -> Result<Vec<Self>, PkiError> {
        let number = |name: &String| {
            let number = name.strip_prefix("ca-")?.strip_suffix(".pem")?;
            number.parse::<u32>().ok()
        };
        let mut numbers: Vec<u32> = dir.names()?.iter().filter_map(number).collect();
        numbers.sort_unstable();
        let read = |number: u32| Self::read(dir, number);
        numbers.into_iter().map(read).collect()
    }

    fn read(dir: &Dir, number: u32) -> Result<Self, PkiError> {
        let (name, key_name) = (certificate_file(number), key_file(number));
        let damaged = |name: &str, why: String| PkiError::Damaged {
            path: dir.path(name),
            why,
        };
        let text = |name: &str| -> Result<String, PkiError> {
            let content = dir.read(name)?;
            let content = content.ok_or_else(|| damaged(name, "it is missing".to_owned()))?;
            String::from_utf8(content).map_err(|_| damaged(name, "it is no text".to_owned()))
        };
        let pem = text(&name)?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| damaged(&name, error.to_string()))?;
        let facts = Facts::of(&certificate).map_err(|why| damaged(&name, why))?;
        let key = KeyPair::from_pem(&text(&key_name)?)
            .map_err(|error| damaged(&key_name, error.to_string()))?;
        let cross_name = cross_file(number);
        let cross = dir.read(&cross_name)?.map(|content| {
            CertificateDer::from_pem_slice(&content)
                .map_err(|error| damaged(&cross_name, error.to_string()))
        });
        if facts.public_key != key.public_key_raw() {
            return Err(damaged(&key_name, format!("it is not the key of {name}")));
        }
        Ok(Self {
            number,
            subject: facts.subject,
            begins: facts.begins,
            ends: facts.ends,
            certificate,
            cross: cross.transpose()?,
            key,
            pem,
        })
    }

    /// Makes one and keeps it; `before` certifies its key too.
    pub(super) fn make(
        dir: &Dir,
        owner: &str,
        number: u32,
        before: Option<&Self>,
        life: Duration,
        now: Seconds,
    ) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let life = seconds(life);
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        // Two authorities of one name would be mixed up by whoever looks for an issuer.
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let subject = format!("edgeIO {owner} CA {number} {}", &mark[..8]);
        name.push(DnType::CommonName, subject);
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date(now.saturating_sub(slack(life)))?;
        params.not_after = date(now.saturating_add(life))?;
        let certificate = params.self_signed(&key)?;
        if let Some(before) = before {
            params.not_after = date(now.saturating_add(life).min(before.ends))?;
            params.use_authority_key_identifier_extension = true;
            let cross = params.signed_by(&key, &before.issuer()?)?;
            dir.write(&cross_file(number), &cross.pem())?;
        }
        dir.write(&key_file(number), &key.serialize_pem())?;
        // Last: without it the other two are nothing, and are written over by the next attempt.
        dir.write(&certificate_file(number), &certificate.pem())?;
        Self::read(dir, number)
    }

    /// What signs in its name.
    pub(super) fn issuer(&self) -> Result<Issuer<'_, &KeyPair>, PkiError> {
        Ok(Issuer::from_ca_cert_der(&self.certificate, &self.key)?)
    }

    pub(super) fn hash(&self) -> String {
        hash(&self.certificate)
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether the next one should be made, after that part of its life in percent.
    pub(super) fn is_due(&self, percent: u32, now: Seconds) -> bool {
        let life = self.ends.saturating_sub(self.begins);
        now.saturating_sub(self.begins)
            >= life / 100 * Seconds::from(percent) + life % 100 * Seconds::from(percent) / 100
    }

    /// Its cross certificate, if one of these signed it.
    pub(super) fn cross_by(&self, others: &[Self]) -> Option<&CertificateDer<'static>> {
        let cross = self.cross.as_ref()?;
        let issuer = Facts::of(cross).ok()?.issuer;
        let known = others.iter().any(|other| other.subject == issuer);
        known.then_some(cross)
    }

    /// Removes its files, first the one that makes it an authority.
    pub(super) fn remove(&self, dir: &Dir) -> Result<(), PkiError> {
        dir.remove(&certificate_file(self.number))?;
        dir.remove(&key_file(self.number))?;
        dir.remove(&cross_file(self.number))
    }
}

fn certificate_file(number: u32) -> String {
    format!("ca-{number}.pem")
}

fn key_file(number: u32) -> String {
    format!("ca-{number}.key")
}

fn cross_file(number: u32) -> String {
    format!("cross-{number}.pem")
}

/// A time as certificates have it.
pub(super) fn date(seconds: Seconds) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| PkiError::Time(seconds))
}

/// What a certificate says.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) begins: Seconds,
    pub(super) ends: Seconds,
    /// Host names and addresses, in the order in which they stand there.
    pub(super) names: Vec<String>,
    public_key: Vec<u8>,
}

impl Facts {
    /// Reads it; the error says what is wrong with it.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        use x509_parser::prelude::FromDer as _;
        let (_, read) =
            X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let alternative = read
            .subject_alternative_name()
            .map_err(|error| error.to_string())?;
        let names = alternative.map_or_else(Vec::new, |found| {
            let names = found.value.general_names.iter();
            names.filter_map(name_of).collect()
        });
        Ok(Self {
            subject: common_name(read.subject()),
            issuer: common_name(read.issuer()),
            begins: read.validity().not_before.timestamp(),
            ends: read.validity().not_after.timestamp(),
            names,
            public_key: read.public_key().subject_public_key.data.to_vec(),
        })
    }
}

fn common_name(name: &X509Name<'_>) -> String {
    let first = name.iter_common_name().next();
    let text = first.and_then(|name| name.as_str().ok());
    text.map_or_else(|| name.to_string(), str::to_owned)
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}
