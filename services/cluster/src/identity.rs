//! The cluster's identity: an id and a key pair in a file beside the database, so that losing the database does not lose
//! who this cluster is. The key signs the credentials by which workers come back under their old ids.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::BASE64URL_NOPAD;
use edgeio_client::{MachineKey, MachineKeyError};
use edgeio_domain::ids::ChildId;
use edgeio_server::files::write_private;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// File name in the data directory.
const FILE: &str = "identity.json";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
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
    #[error("{} is not an identity: restore it from a backup, or remove it to become a new cluster", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The key cannot be used.
    #[error("use the identity's key")]
    Key(#[from] nkeys::error::Error),
    /// The key cannot sign for the root.
    #[error("use the identity's key")]
    Machine(#[from] MachineKeyError),
}

/// The file's form.
#[derive(Serialize, Deserialize)]
struct Stored {
    cluster_id: Uuid,
    seed: String,
}

/// What a credential says.
#[derive(Serialize, Deserialize)]
struct Claims {
    cluster: Uuid,
    worker: Uuid,
    key: String,
}

/// Who this cluster is.
pub struct Identity {
    /// Its id.
    pub id: ChildId,
    keys: KeyPair,
}

impl Identity {
    /// Reads the identity in `dir`, or makes one.
    ///
    /// # Errors
    /// The file cannot be accessed or understood.
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).ok_or(IdentityError::Content { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(&path),
            Err(source) => Err(IdentityError::Access { path, source }),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let stored: Stored = serde_json::from_str(text).ok()?;
        let keys = KeyPair::from_seed(&stored.seed).ok()?;
        Some(Self {
            id: ChildId(stored.cluster_id),
            keys,
        })
    }

    fn make(path: &Path) -> Result<Self, IdentityError> {
        let keys = KeyPair::new_cluster();
        let id = Uuid::now_v7();
        let stored = Stored {
            cluster_id: id,
            seed: keys.seed()?,
        };
        write(path, &stored).map_err(|source| IdentityError::Access {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            id: ChildId(id),
            keys,
        })
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.keys.public_key()
    }

    /// The key as that of a machine, which proves to the root who this cluster is.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn machine_key(&self) -> Result<Arc<MachineKey>, IdentityError> {
        let key = MachineKey::from_seed(&self.keys.seed()?)?;
        Ok(Arc::new(key))
    }

    /// Signs that `worker` has the key `key` in this cluster.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn credential(&self, worker: ChildId, key: &str) -> Result<String, IdentityError> {
        let claims = Claims {
            cluster: self.id.0,
            worker: worker.0,
            key: key.to_owned(),
        };
        let body = serde_json::to_vec(&claims).unwrap_or_default();
        let signature = self.keys.sign(&body)?;
        Ok(format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(&body),
            BASE64URL_NOPAD.encode(&signature)
        ))
    }

    /// The worker that a credential proves for the holder of `key`; `None` if it proves nothing here.
    #[must_use]
    pub fn verify(&self, credential: &str, key: &str) -> Option<ChildId> {
        let (body, signature) = credential.split_once('.')?;
        let body = BASE64URL_NOPAD.decode(body.as_bytes()).ok()?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        self.keys.verify(&body, &signature).ok()?;
        let claims: Claims = serde_json::from_slice(&body).ok()?;
        (claims.cluster == self.id.0 && claims.key == key).then_some(ChildId(claims.worker))
    }
}

fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    write_private(path, &serde_json::to_vec_pretty(stored)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_lasts_and_proves_only_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::open(dir.path()).unwrap();
        let again = Identity::open(dir.path()).unwrap();
        assert_eq!(first.id, again.id);
        let worker = ChildId(Uuid::now_v7());
        let credential = first.credential(worker, "UKEY").unwrap();
        assert_eq!(again.verify(&credential, "UKEY"), Some(worker));
        assert_eq!(again.verify(&credential, "UOTHER"), None);
        let other = Identity::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert_eq!(other.verify(&credential, "UKEY"), None);
        for broken in ["", ".", "a.b", &credential[1..], &format!("{credential}x")] {
            assert_eq!(again.verify(broken, "UKEY"), None, "{broken}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{}").unwrap();
        assert!(matches!(
            Identity::open(dir.path()),
            Err(IdentityError::Content { .. })
        ));
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), "{}");
    }
}
