//! Whom to believe: authorities in a file, one known by its hash, those that were learned, or else the system's.
//!
//! What is learned is kept for as long as the dialer lives, and in a file if there is one, so that after the first contact
//! nothing has to be given again: the authorities that a server shows, as far as one that was believed already vouches for them. One that the server shows no more is forgotten.

use std::{
    fmt, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Mutex, OnceLock, PoisonError},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of an authority's certificate (its DER form), as `ca show` and join tokens tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaHash([u8; 32]);

/// A text is no such hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no SHA-256: write its 64 hexadecimal digits, as `edgeio-root ca show` tells them"
)]
pub struct CaHashError(String);

impl FromStr for CaHash {
    type Err = CaHashError;

    fn from_str(text: &str) -> Result<Self, CaHashError> {
        let digits = text.trim();
        let digits = digits
            .strip_prefix("sha256:")
            .unwrap_or(digits)
            .replace(':', "");
        let mut bytes = [0; 32];
        hex::decode_to_slice(&digits, &mut bytes).map_err(|_| CaHashError(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for CaHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

impl CaHash {
    /// Whether it is the hash of this certificate.
    #[must_use]
    pub fn is_of(&self, certificate: &CertificateDer<'_>) -> bool {
        Sha256::digest(certificate).as_slice() == self.0
    }
}

/// Whom to believe. Without anything: the system's authorities.
#[derive(Debug, Default)]
pub struct Trust {
    file: Option<PathBuf>,
    hash: Option<CaHash>,
    kept: Option<PathBuf>,
    learned: Mutex<Vec<CertificateDer<'static>>>,
    system: OnceLock<Vec<CertificateDer<'static>>>,
}

/// Why it is not known whom to believe.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    #[error("the authorities in `{}` cannot be read ({why})", path.display())]
    Read { path: PathBuf, why: String },
    #[error(
        "none of the certificates that it shows has the hash {0}: it is another server, or somebody stands between"
    )]
    OtherAuthority(CaHash),
}

impl Trust {
    /// Believes the authorities in this file too, in PEM form.
    #[must_use]
    pub fn file(mut self, file: Option<PathBuf>) -> Self {
        self.file = file.or(self.file);
        self
    }

    /// Believes an authority with this hash too, if the server shows it.
    #[must_use]
    pub fn hash(mut self, hash: Option<CaHash>) -> Self {
        self.hash = hash.or(self.hash);
        self
    }

    /// Keeps what is learned in this file, and believes what is there.
    #[must_use]
    pub fn kept_in(mut self, file: impl Into<PathBuf>) -> Self {
        self.kept = Some(file.into());
        self
    }

    /// Whether it believes somebody by name, and not just the system's authorities.
    pub(super) fn is_own(&self) -> bool {
        self.file.is_some()
            || self.hash.is_some()
            || !self
                .learned
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty()
            || self.kept.as_ref().is_some_and(|path| path.exists())
    }

    /// The authorities of the files, and those that were learned.
    pub(super) fn known(&self) -> Result<Vec<CertificateDer<'static>>, TrustError> {
        let mut known = Vec::new();
        if let Some(path) = &self.file {
            known.extend(read(path)?);
        }
        if let Some(path) = self.kept.as_ref().filter(|path| path.exists()) {
            known.extend(read(path)?);
        }
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let new = learned.iter().filter(|one| !known.contains(one));
        let new: Vec<_> = new.cloned().collect();
        known.extend(new);
        Ok(known)
    }

    /// The one among these that has the hash.
    pub(super) fn pinned<'a>(
        &self,
        mut shown: impl Iterator<Item = &'a CertificateDer<'a>>,
    ) -> Option<CertificateDer<'static>> {
        let hash = self.hash?;
        let found = shown.find(|certificate| hash.is_of(certificate))?;
        Some(found.clone().into_owned())
    }

    /// The hash that was given.
    pub(super) fn given_hash(&self) -> Option<CaHash> {
        self.hash
    }

    /// The system's authorities, for when nothing else is known. Read once.
    pub(super) fn system(&self) -> &[CertificateDer<'static>] {
        self.system.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::debug!(%error, "some of the system's authorities cannot be read");
            }
            found.certs
        })
    }

    /// Keeps these, in place of what was kept.
    pub(super) fn keep(&self, certificates: &[CertificateDer<'static>]) {
        if certificates.is_empty() {
            return;
        }
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = certificates.to_vec();
        let Some(path) = &self.kept else { return };
        if read(path).is_ok_and(|kept| kept == certificates) {
            return;
        }
        let pem: String = certificates.iter().map(pem).collect();
        match write(path, &pem) {
            Ok(()) => tracing::info!(
                path = %path.display(), count = certificates.len(),
                "learned the certificate authorities of the server"
            ),
            Err(error) => tracing::warn!(
                path = %path.display(), %error,
                "the certificate authorities of the server cannot be kept: the next start may need them again"
            ),
        }
    }
}

/// For people: whom one believes here.
impl fmt::Display for Trust {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        if let Some(file) = &self.file {
            said.push(format!("the authorities in `{}`", file.display()));
        }
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.exists()) {
            said.push(format!("those learned before, in `{}`", kept.display()));
        }
        if let Some(hash) = &self.hash {
            said.push(format!("the authority with the hash {hash}"));
        }
        if said.is_empty() {
            said.push("the authorities of this system".to_owned());
        }
        out.write_str(&said.join(", "))
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |why: String| TrustError::Read {
        path: path.to_owned(),
        why,
    };
    let content = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.to_string()))?;
    if found.is_empty() {
        return Err(failed("there is no certificate in PEM form".to_owned()));
    }
    Ok(found)
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = data_encoding::BASE64.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// Writes a file so that it is whole or as it was.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_in_every_form_that_tools_print() {
        let digits = "0123456789abcdef".repeat(4);
        let plain: CaHash = digits.parse().unwrap();
        assert_eq!(plain.to_string(), digits);
        let colons: Vec<&str> = (0..32).map(|at| &digits[at * 2..at * 2 + 2]).collect();
        for form in [
            format!("sha256:{digits}"),
            digits.to_uppercase(),
            colons.join(":"),
            format!(" {digits}\n"),
        ] {
            assert_eq!(form.parse::<CaHash>().as_ref(), Ok(&plain), "{form}");
        }
        for bad in [
            "",
            "0123",
            &digits[1..],
            &format!("{digits}0"),
            &digits.replace('0', "g"),
        ] {
            assert!(bad.parse::<CaHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_kept_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::default().kept_in(dir.path().join("ca.pem"));
        assert!(trust.known().unwrap().is_empty());
        let some: Vec<CertificateDer<'static>> = [vec![1; 100], vec![2; 48], vec![3]]
            .map(Into::into)
            .to_vec();
        trust.keep(&some);
        assert_eq!(trust.known().unwrap(), some);
        assert_eq!(read(&dir.path().join("ca.pem")).unwrap(), some);
        trust.keep(&some[1..]);
        assert_eq!(trust.known().unwrap(), some[1..]);
        trust.keep(&[]);
        assert_eq!(
            trust.known().unwrap(),
            some[1..],
            "nothing is no reason to forget"
        );
    }

    #[test]
    fn a_file_without_certificates_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let error = |trust: &Trust| trust.known().unwrap_err().to_string();
        let trust = Trust::default().file(Some(path.clone()));
        assert!(error(&trust).contains("ca.pem"), "{}", error(&trust));
        fs::write(&path, "nothing").unwrap();
        assert!(
            error(&trust).contains("no certificate"),
            "{}",
            error(&trust)
        );
    }
}
