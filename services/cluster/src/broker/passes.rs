//! Passes: what workers and bridges show to the broker, and who is no longer let in.
//!
//! A pass is short-lived and for one key; whoever holds it without that key can do nothing with it. Revocations stand beside the
//! keys, in `nats/revoked.json`, and not in the database: an old copy of the database that is put back must not let anybody in
//! again. One is kept for as long as a pass that it voids could be good. A key that comes back later (a worker that was
//! forgotten and joins again) gets a pass that is newer than its revocation.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgeio_proto::cluster::v1::{AccountUpdate, BrokerPass};
use edgeio_server::files::write_private;
use rand::Rng as _;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    claims::{Minter, Revocations},
    command::seconds_now,
    keys::{DIRECTORY, Keys, KeysError},
    token::MintError,
};

const FILE: &str = "revoked.json";
/// The part of its life after which a pass is replaced: long before its end, and not for all at once.
const RENEWED_AFTER: std::ops::Range<f64> = 0.50..0.67;
/// Seconds that clocks of cluster and broker may differ by.
const SKEW: i64 = 300;
/// Seconds for which a bridge may tell the broker of one account.
const TELL: i64 = 60;

/// Why passes cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PassesError {
    /// The broker's keys cannot be had.
    #[error("open the broker's keys")]
    Keys(#[from] KeysError),
    /// The revocations cannot be read or written.
    #[error("access {}", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{} does not hold revocations: restore it from a backup", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// A pass cannot be signed.
    #[error(transparent)]
    Mint(#[from] MintError),
}

/// Makes passes and revokes them.
#[derive(Debug)]
pub struct Passes {
    minter: Minter,
    life: Duration,
    path: PathBuf,
    revoked: Mutex<Revocations>,
    /// Rises with each revocation.
    serial: watch::Sender<u64>,
}

impl Passes {
    /// Opens the keys and revocations of a data directory; passes are good for `life`.
    ///
    /// # Errors
    /// A file cannot be accessed or understood.
    pub fn open(data_dir: &Path, cluster: Uuid, life: Duration) -> Result<Self, PassesError> {
        let keys = Keys::open(data_dir, seconds_now())?;
        let path = data_dir.join(DIRECTORY).join(FILE);
        let revoked: Revocations = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| PassesError::Content { path: path.clone() })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Revocations::new(),
            Err(source) => return Err(PassesError::Access { path, source }),
        };
        let serial = u64::from(!revoked.is_empty());
        Ok(Self {
            minter: Minter::new(keys, cluster),
            life,
            path,
            revoked: Mutex::new(revoked),
            serial: watch::Sender::new(serial),
        })
    }

    fn revoked(&self) -> MutexGuard<'_, Revocations> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a pass for `key` begins and ends: never at or before the key's revocation.
    fn times(&self, key: &str) -> (i64, i64) {
        let now = seconds_now();
        let after = self.revoked().get(key).map_or(now, |at| now.max(at + 1));
        (after, after.saturating_add(seconds(self.life)))
    }

    fn pass(&self, jwt: String) -> BrokerPass {
        BrokerPass {
            jwt,
            valid_for_ms: u32::try_from(self.life.as_millis()).unwrap_or(u32::MAX),
        }
    }

    /// A pass for a worker's key.
    ///
    /// # Errors
    /// It is no key of a user.
    pub fn worker(&self, worker: Uuid, key: &str) -> Result<BrokerPass, MintError> {
        let (issued, expires) = self.times(key);
        Ok(self.pass(self.minter.worker(worker, key, issued, expires)?))
    }

    /// A pass for a bridge's key.
    ///
    /// # Errors
    /// It is no key of a user.
    pub fn bridge(&self, bridge: Uuid, key: &str) -> Result<BrokerPass, MintError> {
        let (issued, expires) = self.times(key);
        Ok(self.pass(self.minter.bridge(bridge, key, issued, expires)?))
    }

    /// How long a pass that is made now is used.
    #[must_use]
    pub fn renewal(&self) -> Duration {
        self.life.mul_f64(rand::rng().random_range(RENEWED_AFTER))
    }

    /// Voids every pass that `key` has. It is kept when this returns; the bridges are told at once.
    ///
    /// # Errors
    /// It cannot be written; nothing is revoked then.
    pub fn revoke(&self, key: &str) -> Result<(), PassesError> {
        let now = seconds_now();
        let mut revoked = self.revoked();
        let mut next = revoked.clone();
        let oldest = now.saturating_sub(seconds(self.life)).saturating_sub(SKEW);
        next.retain(|_, at| *at >= oldest);
        let at = next.entry(key.to_owned()).or_insert(now);
        *at = now.max(*at);
        write(&self.path, &next).map_err(|source| PassesError::Access {
            path: self.path.clone(),
            source,
        })?;
        *revoked = next;
        drop(revoked);
        self.serial.send_modify(|serial| *serial += 1);
        Ok(())
    }

    /// Tells of revocations, by a number that rises; 0 as long as there was none.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.serial.subscribe()
    }

    /// The account as it is now, for a bridge to tell the broker of; `None` if nobody is revoked.
    ///
    /// # Errors
    /// It cannot be signed, or the bridge's key is none.
    pub fn update(&self, bridge: Uuid, key: &str) -> Result<Option<AccountUpdate>, MintError> {
        let serial = *self.serial.borrow();
        if serial == 0 {
            return Ok(None);
        }
        let revoked = self.revoked().clone();
        let now = seconds_now();
        Ok(Some(AccountUpdate {
            serial,
            account_jwt: self.minter.account(now, &revoked)?,
            user_jwt: self.minter.revoker(bridge, key, now, now + TELL)?,
        }))
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX).max(1)
}

fn write(path: &Path, revoked: &Revocations) -> io::Result<()> {
    write_private(path, &serde_json::to_vec_pretty(revoked)?)
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::super::token::verified;
    use super::*;

    fn issued(passes: &Passes, pass: &BrokerPass) -> i64 {
        let claims = verified(&pass.jwt, &passes.minter.keys().signing).unwrap();
        claims["iat"].as_i64().unwrap()
    }

    #[test]
    fn a_revocation_outlives_a_restart_and_a_later_pass_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Passes::open(dir.path(), Uuid::nil(), Duration::from_secs(3600)).unwrap();
        let (key, bridge) = (
            KeyPair::new_user().public_key(),
            KeyPair::new_user().public_key(),
        );
        let passes = open();
        assert_eq!(passes.update(Uuid::nil(), &bridge).unwrap(), None);
        let before = passes.worker(Uuid::nil(), &key).unwrap();
        assert_eq!(before.valid_for_ms, 3_600_000);
        let mut changes = passes.changes();
        passes.revoke(&key).unwrap();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        for passes in [passes, open()] {
            let update = passes.update(Uuid::nil(), &bridge).unwrap().unwrap();
            let account = verified(&update.account_jwt, &passes.minter.keys().operator).unwrap();
            let at = account["nats"]["revocations"][&key].as_i64().unwrap();
            assert!(issued(&passes, &before) <= at);
            assert!(issued(&passes, &passes.worker(Uuid::nil(), &key).unwrap()) > at);
            assert!(verified(&update.user_jwt, &passes.minter.keys().system).is_some());
        }
    }

    #[test]
    fn what_no_pass_can_outlive_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let passes = Passes::open(dir.path(), Uuid::nil(), Duration::from_secs(60)).unwrap();
        let old = "UOLD".to_owned();
        passes
            .revoked()
            .insert(old.clone(), seconds_now() - 60 - SKEW - 10);
        let key = KeyPair::new_user().public_key();
        passes.revoke(&key).unwrap();
        assert!(!passes.revoked().contains_key(&old));
        assert!(passes.revoked().contains_key(&key));
    }

    #[test]
    fn renewals_are_spread_over_the_middle_of_a_life() {
        let dir = tempfile::tempdir().unwrap();
        let passes = Passes::open(dir.path(), Uuid::nil(), Duration::from_secs(1000)).unwrap();
        let all: Vec<u64> = (0..1000).map(|_| passes.renewal().as_secs()).collect();
        assert!(all.iter().all(|s| (500..=670).contains(s)));
        assert!(all.iter().max().unwrap() - all.iter().min().unwrap() > 100);
    }
}
