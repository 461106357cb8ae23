//! The bridge's own key: made once in its data directory, or for one run where it has none.

use std::{fs, io, path::Path, path::PathBuf, sync::Arc};

use edgeio_client::{MachineKey, MachineKeyError, Signer};
use edgeio_server::files::write_private;
use nkeys::KeyPair;

/// File name in the data directory.
const SEED: &str = "nkey.seed";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("access `{}`", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key cannot be made.
    #[error("make the bridge's key")]
    Make(#[source] nkeys::error::Error),
    /// The key cannot be used.
    #[error("use the bridge's key: restore its file, or remove it to join as a new bridge")]
    Use(#[from] MachineKeyError),
}

/// The bridge's key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    key: Arc<MachineKey>,
    /// It is there again after a restart, so the cluster may know it.
    pub(super) lasts: bool,
}

impl Key {
    /// Reads the key in `dir`, or makes one; an empty path makes one for this run.
    pub(super) fn open(dir: &Path) -> Result<Self, KeyError> {
        let lasts = !dir.as_os_str().is_empty();
        let seed = if lasts { kept(dir)? } else { made()? };
        Ok(Self {
            key: Arc::new(MachineKey::from_seed(&seed)?),
            lasts,
        })
    }

    pub(super) fn public(&self) -> &str {
        self.key.public_key()
    }

    pub(super) fn signer(&self) -> Signer {
        Signer::new(self.key.clone())
    }
}

fn made() -> Result<String, KeyError> {
    KeyPair::new_user().seed().map_err(KeyError::Make)
}

fn kept(dir: &Path) -> Result<String, KeyError> {
    let path = dir.join(SEED);
    let failed = |source| KeyError::Access {
        path: path.clone(),
        source,
    };
    match fs::read_to_string(&path) {
        Ok(seed) => Ok(seed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let seed = made()?;
            write(dir, &path, &seed).map_err(failed)?;
            Ok(seed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn write(dir: &Path, path: &Path, seed: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    write_private(path, seed.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_lasts_where_there_is_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("bridge");
        let first = Key::open(&home).unwrap();
        let again = Key::open(&home).unwrap();
        assert!(first.lasts);
        assert_eq!(first.public(), again.public());
        let mode = fs::metadata(home.join(SEED)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let passing = Key::open(Path::new("")).unwrap();
        assert!(!passing.lasts);
        assert_ne!(passing.public(), first.public());
        fs::write(home.join(SEED), "x").unwrap();
        assert!(matches!(Key::open(&home), Err(KeyError::Use(_))));
    }
}
