//! The built-in certificate authority of a root or a cluster: made, kept, renewed and rotated without anybody's help.
//!
//! All of it is files in `<data_dir>/pki/`, so that a server and the command `ca` of its binary meet there (under a lock):
//! `ca-N.pem` and `ca-N.key` are the N-th authority, `cross-N.pem` is its key signed by the one before, `ca.pem` has all
//! that are valid now for people to hand out, `server.pem` and `server.key` are what is served.
//!
//! A new authority signs from its first moment. Who trusts only an older one still gets in by the cross certificate, and
//! learns the new one from it; so nobody has to be told before the older one ends. Keys never leave their files.
//! Deliberately absent: certificates for clients (machines sign with keys of their own), and revocation lists.

mod authority;
pub mod command;
mod error;
mod files;
mod leaf;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use authority::Authority;
pub use authority::Known;
pub use error::PkiError;
use files::Dir;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// How long things are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lives {
    /// An authority.
    pub ca: Duration,
    /// After which part of an authority's life, in percent, the next one is made.
    pub rotate_at: u32,
    /// A server's certificate, which is renewed after two thirds of it.
    pub leaf: Duration,
}

/// Seconds since 1970.
pub(crate) type Seconds = i64;

/// The wall clock in seconds since 1970.
pub(crate) fn now() -> Seconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, seconds)
}

fn seconds(duration: Duration) -> Seconds {
    Seconds::try_from(duration.as_secs()).unwrap_or(Seconds::MAX)
}

/// How far into the past something begins to be valid that lives for `life` seconds: clocks at the edge differ.
fn slack(life: Seconds) -> Seconds {
    (life / 4).min(3600)
}

/// The SHA-256 of a certificate, in hexadecimal: what join tokens and `--ca-hash` carry.
#[must_use]
pub fn hash(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// What a server serves with.
#[derive(Debug)]
pub(crate) struct Served {
    /// The server's certificate, cross certificates, and the authorities that are valid now, newest first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The key of the first.
    pub(crate) key: PrivateKeyDer<'static>,
    /// The newest authority's hash.
    pub(crate) ca_hash: String,
}

/// The authorities of one server.
#[derive(Debug, Clone)]
pub struct Pki {
    dir: PathBuf,
    subject: String,
    lives: Lives,
}

impl Pki {
    /// Those in `data_dir`, of a server that is called `subject` (`root`, or a cluster).
    #[must_use]
    pub fn new(data_dir: &Path, subject: &str, lives: Lives) -> Self {
        Self {
            dir: data_dir.join("pki"),
            subject: subject.to_owned(),
            lives,
        }
    }

    /// Makes what is missing, renews what is due, forgets what has ended, and reads what to serve.
    ///
    /// # Errors
    /// A file cannot be read, written or understood.
    pub(crate) fn tend(&self, names: &[String], now: Seconds) -> Result<Served, PkiError> {
        let dir = Dir::open(&self.dir)?;
        let mut authorities = Authority::read_all(&dir)?;
        authorities.retain(|one| one.ends > now || !forget(&dir, one, "it has ended"));
        match authorities.last() {
            None => authorities.push(self.make(&dir, 1, None, now)?),
            Some(newest) if newest.is_due(self.lives.rotate_at, now) => {
                let next = self.make(&dir, newest.number + 1, Some(newest), now)?;
                authorities.push(next);
            }
            Some(_) => {}
        }
        dir.update("ca.pem", &bundle(&authorities))?;
        leaf::serve(&dir, &authorities, names, self.lives.leaf, now)
    }

    fn make(
        &self,
        dir: &Dir,
        number: u32,
        before: Option<&Authority>,
        now: Seconds,
    ) -> Result<Authority, PkiError> {
        let made = Authority::make(dir, &self.subject, number, before, self.lives.ca, now)?;
        tracing::info!(
            ca_hash = made.hash(),
            subject = made.subject,
            beside_another = before.is_some(),
            "made a certificate authority"
        );
        Ok(made)
    }

    /// The authorities, oldest first; the last one signs.
    ///
    /// # Errors
    /// There are none, or a file cannot be read.
    pub fn show(&self) -> Result<Vec<Known>, PkiError> {
        let dir = Dir::existing(&self.dir)?;
        let all = Authority::read_all(&dir)?;
        if all.is_empty() {
            return Err(PkiError::None(self.dir.clone()));
        }
        Ok(all.iter().map(Known::from).collect())
    }

    /// Makes a new authority beside the ones that are there. A server that runs takes it up within seconds.
    ///
    /// # Errors
    /// There is none yet, or a file cannot be written.
    pub fn rotate(&self) -> Result<Known, PkiError> {
        let dir = Dir::existing(&self.dir)?;
        let mut all = Authority::read_all(&dir)?;
        let newest = all.last().ok_or_else(|| PkiError::None(self.dir.clone()))?;
        let next = self.make(&dir, newest.number + 1, Some(newest), now())?;
        let known = Known::from(&next);
        all.push(next);
        dir.update("ca.pem", &bundle(&all))?;
        Ok(known)
    }

    /// Ends an older authority before its time: who has not learned of a newer one is shut out.
    ///
    /// # Errors
    /// There is none with that hash, or it is the one that signs.
    pub fn drop(&self, hash: &str) -> Result<Known, PkiError> {
        let dir = Dir::existing(&self.dir)?;
        let mut all = Authority::read_all(&dir)?;
        let hash = hash.trim().to_ascii_lowercase();
        // Eight digits are what a person copies; fewer may be a slip.
        let meant = |one: &Authority| hash.len() >= 8 && one.hash().starts_with(&hash);
        let at = all.iter().position(meant).ok_or(PkiError::NoSuch(hash))?;
        if at + 1 == all.len() {
            return Err(PkiError::Signs);
        }
        let dropped = all.remove(at);
        forget(&dir, &dropped, "it was dropped");
        dir.update("ca.pem", &bundle(&all))?;
        Ok(Known::from(&dropped))
    }
}

/// Removes an authority's files; true if that worked, so that it counts as gone.
fn forget(dir: &Dir, one: &Authority, why: &str) -> bool {
    match one.remove(dir) {
        Ok(()) => {
            tracing::info!(ca_hash = one.hash(), why, "removed a certificate authority");
            true
        }
        Err(error) => {
            let error = crate::status::chain(&error);
            tracing::warn!(ca_hash = one.hash(), why, %error, "a certificate authority cannot be removed");
            false
        }
    }
}

fn bundle(authorities: &[Authority]) -> String {
    authorities.iter().map(Authority::pem).collect()
}
