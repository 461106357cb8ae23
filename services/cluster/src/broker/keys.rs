//! The seeds of the broker's keys: `nats/keys.json` in the data directory, for its owner only.
//!
//! The operator signs accounts, the account's signing key signs users, the system account signs the one user that tells of
//! revocations. They are made once: a broker knows the operator from its configuration, so other keys would need another
//! configuration. Whichever process makes them first (the cluster, or `nats-config` before it), the other takes those.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nkeys::{KeyPair, KeyPairType};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The directory in the data directory.
pub const DIRECTORY: &str = "nats";
const FILE: &str = "keys.json";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("access {}", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error(
        "{} does not hold the broker's keys: restore it from a backup, or remove it and run `edgeio-cluster nats-config` again",
        path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// A key cannot be made.
    #[error("make the broker's keys")]
    Make(#[from] nkeys::error::Error),
}

/// The file's form.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// Seconds since 1970.
    made_at: i64,
    operator: String,
    system: String,
    account: String,
    signing: String,
}

/// The keys.
pub struct Keys {
    /// When they were made, in seconds since 1970. What is signed later is newer than what the configuration holds.
    pub made_at: i64,
    pub(super) operator: KeyPair,
    pub(super) system: KeyPair,
    pub(super) account: KeyPair,
    pub(super) signing: KeyPair,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("operator", &self.operator.public_key())
            .field("account", &self.account.public_key())
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the keys of a data directory, or makes them; `now` in seconds since 1970.
    ///
    /// # Errors
    /// The file cannot be accessed or understood.
    pub fn open(data_dir: &Path, now: i64) -> Result<Self, KeysError> {
        let dir = data_dir.join(DIRECTORY);
        let path = dir.join(FILE);
        if let Some(keys) = read(&path)? {
            return Ok(keys);
        }
        let stored = Stored {
            made_at: now,
            operator: KeyPair::new_operator().seed()?,
            system: KeyPair::new_account().seed()?,
            account: KeyPair::new_account().seed()?,
            signing: KeyPair::new_account().seed()?,
        };
        write_first(&dir, &path, &stored).map_err(|source| KeysError::Access {
            path: path.clone(),
            source,
        })?;
        // Another process may have been first.
        read(&path)?.ok_or(KeysError::Content { path })
    }

    /// The public key of the account that workers and bridges use.
    #[must_use]
    pub fn account_key(&self) -> String {
        self.account.public_key()
    }

    /// The public key of the broker's system account.
    #[must_use]
    pub fn system_key(&self) -> String {
        self.system.public_key()
    }
}

fn read(path: &Path) -> Result<Option<Keys>, KeysError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KeysError::Access {
                path: path.to_owned(),
                source,
            });
        }
    };
    parse(&text).map(Some).ok_or_else(|| KeysError::Content {
        path: path.to_owned(),
    })
}

fn parse(text: &str) -> Option<Keys> {
    let stored: Stored = serde_json::from_str(text).ok()?;
    let key = |seed: &str, kind: KeyPairType| {
        let pair = KeyPair::from_seed(seed).ok()?;
        (pair.key_pair_type() == kind).then_some(pair)
    };
    Some(Keys {
        made_at: stored.made_at,
        operator: key(&stored.operator, KeyPairType::Operator)?,
        system: key(&stored.system, KeyPairType::Account)?,
        account: key(&stored.account, KeyPairType::Account)?,
        signing: key(&stored.signing, KeyPairType::Account)?,
    })
}

/// Writes the file whole, unless there is one.
fn write_first(dir: &Path, path: &Path, stored: &Stored) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let new = dir.join(format!("{FILE}.{}", Uuid::new_v4()));
    let mut file = fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec_pretty(stored)?)?;
    file.sync_all()?;
    // A link, unlike a rename, never replaces what is there.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_made_once_and_are_their_owners_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let many: Vec<_> = std::thread::scope(|scope| {
            let open = |at| scope.spawn(move || Keys::open(path, at).unwrap().account_key());
            let all: Vec<_> = (0..8).map(open).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(many.windows(2).all(|two| two[0] == two[1]), "{many:?}");
        let nats = dir.path().join(DIRECTORY);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&nats), mode(&nats.join(FILE))), (0o700, 0o600));
        assert_eq!(
            fs::read_dir(&nats).unwrap().count(),
            1,
            "nothing is left over"
        );
    }

    #[test]
    fn a_damaged_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Keys::open(dir.path(), 1).unwrap();
        let path = dir.path().join(DIRECTORY).join(FILE);
        let good = fs::read_to_string(&path).unwrap();
        let stored: Stored = serde_json::from_str(&good).unwrap();
        for bad in [
            String::new(),
            good.replace("made_at", "at"),
            // A key of another kind.
            good.replace(&stored.operator, &stored.account),
        ] {
            fs::write(&path, &bad).unwrap();
            let error = Keys::open(dir.path(), 1).unwrap_err();
            assert!(matches!(error, KeysError::Content { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }

    #[test]
    fn what_is_logged_shows_no_seed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(dir.path(), 1).unwrap();
        let text = format!("{keys:?}");
        for pair in [&keys.operator, &keys.account, &keys.system, &keys.signing] {
            assert!(!text.contains(&pair.seed().unwrap()));
        }
    }
}
