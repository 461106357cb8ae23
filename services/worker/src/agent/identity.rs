//! Who this worker is: a key that never leaves the machine, and what the cluster answered to it.
//!
//! The key's seed and the membership are files of the data directory, for this user only, written whole or not at all. With
//! them a worker comes back after a reboot without any contact: its jobs do not wait for a network.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use edgeio_bridge::bus::Pass;
use edgeio_client::{MachineKey, MachineKeyError, Signer};
use edgeio_proto::cluster::v1::RegisterResponse;
use edgeio_server::files::write_private;
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const SEED: &str = "nkey.seed";
const MEMBERSHIP: &str = "identity.json";
/// Left behind by a worker that left its cluster.
const LEFT: &str = "left";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("access `{}`", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("`{}` is damaged: restore it, or move it away to join as a new worker", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The key cannot be made or used.
    #[error("use the worker's key")]
    Key(#[from] nkeys::error::Error),
    /// The key cannot sign.
    #[error("use the worker's key")]
    Machine(#[from] MachineKeyError),
    /// The cluster's answer makes no sense.
    #[error("the cluster answered with `{field}` = `{value}`")]
    Answer {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
}

/// What the cluster answered to the registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Membership {
    pub(super) worker_id: Uuid,
    pub(super) credential: String,
    pub(super) cluster_id: Uuid,
    pub(super) cluster_name: String,
    pub(super) name: String,
    pub(super) broker_address: String,
    pub(super) broker_port: u16,
    pub(super) telemetry_interval_ms: u32,
    /// Lets this worker use the broker; empty where nobody is asked.
    #[serde(default)]
    pub(super) broker_pass: String,
    /// How long that was good when it came; zero when it was read from the file.
    #[serde(skip)]
    pub(super) pass_life: Duration,
}

impl TryFrom<RegisterResponse> for Membership {
    type Error = IdentityError;

    fn try_from(answer: RegisterResponse) -> Result<Self, IdentityError> {
        let id = |field, value: &str| {
            value.parse::<Uuid>().map_err(|_| IdentityError::Answer {
                field,
                value: value.chars().take(60).collect(),
            })
        };
        let pass = answer.broker_pass.unwrap_or_default();
        let port = u16::try_from(answer.broker_port).ok().filter(|p| *p != 0);
        Ok(Self {
            worker_id: id("worker_id", &answer.worker_id)?,
            cluster_id: id("cluster_id", &answer.cluster_id)?,
            broker_port: port.ok_or(IdentityError::Answer {
                field: "broker_port",
                value: answer.broker_port.to_string(),
            })?,
            credential: answer.credential,
            cluster_name: answer.cluster_name,
            name: answer.name,
            broker_address: answer.broker_address,
            telemetry_interval_ms: answer.telemetry_interval_ms,
            broker_pass: pass.jwt,
            pass_life: Duration::from_millis(u64::from(pass.valid_for_ms)),
        })
    }
}

impl Membership {
    /// `host:port` of the broker.
    pub(super) fn broker(&self) -> String {
        let host = &self.broker_address;
        if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{}", self.broker_port)
        } else {
            format!("{host}:{}", self.broker_port)
        }
    }
}

/// The files of a data directory.
#[derive(Clone, Debug)]
pub(super) struct Home(pub(super) PathBuf);

impl Home {
    /// Signs calls to a cluster with the worker's key.
    pub(super) fn signer(&self) -> Result<Signer, IdentityError> {
        let seed = self.seed()?;
        Ok(Signer::new(Arc::new(MachineKey::from_seed(&seed)?)))
    }

    /// What is shown to the broker: this worker's key, and the pass that the cluster gave last.
    pub(super) fn pass(&self) -> Result<Pass, IdentityError> {
        Ok(Pass::of(&self.seed()?)?)
    }

    /// The public key; makes the key on the first call.
    pub(super) fn public_key(&self) -> Result<String, IdentityError> {
        Ok(KeyPair::from_seed(&self.seed()?)?.public_key())
    }

    /// The key's seed; makes the key on the first call.
    fn seed(&self) -> Result<String, IdentityError> {
        let path = self.0.join(SEED);
        match fs::read_to_string(&path) {
            Ok(seed) => {
                let seed = seed.trim().to_owned();
                KeyPair::from_seed(&seed)
                    .map(|_| seed)
                    .map_err(|_| IdentityError::Content { path })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let keys = KeyPair::new_user();
                let seed = keys.seed()?;
                self.put(SEED, seed.as_bytes())?;
                Ok(seed)
            }
            Err(source) => Err(IdentityError::Access { path, source }),
        }
    }

    /// What the cluster answered last; `None` before the first registration.
    pub(super) fn membership(&self) -> Result<Option<Membership>, IdentityError> {
        let path = self.0.join(MEMBERSHIP);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|_| IdentityError::Content { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::Access { path, source }),
        }
    }

    /// Keeps what the cluster answered.
    pub(super) fn join(&self, membership: &Membership) -> Result<(), IdentityError> {
        let bytes = serde_json::to_vec_pretty(membership).unwrap_or_default();
        self.put(MEMBERSHIP, &bytes)
    }

    /// Notes that the worker leaves, so that a running agent does not come back by itself.
    pub(super) fn leave(&self) -> Result<(), IdentityError> {
        self.put(
            LEFT,
            b"this worker left its cluster; starting it joins again\n",
        )
    }

    /// Whether the worker was told to leave.
    pub(super) fn has_left(&self) -> bool {
        self.0.join(LEFT).exists()
    }

    /// A start joins again.
    pub(super) fn come_back(&self) -> Result<(), IdentityError> {
        let path = self.0.join(LEFT);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(IdentityError::Access { path, source }),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
        let path = self.0.join(name);
        write_private(&path, bytes).map_err(|source| IdentityError::Access { path, source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn answer() -> RegisterResponse {
        RegisterResponse {
            worker_id: Uuid::from_u128(1).to_string(),
            cluster_id: Uuid::from_u128(2).to_string(),
            credential: "c".into(),
            broker_address: "::1".into(),
            broker_port: 4222,
            ..Default::default()
        }
    }

    #[test]
    fn the_key_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home(dir.path().to_owned());
        let key = home.public_key().unwrap();
        assert!(key.starts_with('U'));
        assert_eq!(home.public_key().unwrap(), key);
        let mode = fs::metadata(dir.path().join(SEED))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.path().join(SEED), "x").unwrap();
        assert!(matches!(
            home.public_key(),
            Err(IdentityError::Content { .. })
        ));
    }

    #[test]
    fn a_membership_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home(dir.path().to_owned());
        assert_eq!(home.membership().unwrap(), None);
        let membership = Membership::try_from(answer()).unwrap();
        home.join(&membership).unwrap();
        assert_eq!(home.membership().unwrap(), Some(membership.clone()));
        assert_eq!(membership.broker(), "[::1]:4222");
        home.leave().unwrap();
        assert!(home.has_left());
        home.come_back().unwrap();
        home.come_back().unwrap();
        assert!(!home.has_left());
    }

    #[test]
    fn a_senseless_answer_is_named() {
        let bad = RegisterResponse {
            broker_port: 70_000,
            ..answer()
        };
        let text = Membership::try_from(bad).unwrap_err().to_string();
        assert!(
            text.contains("broker_port") && text.contains("70000"),
            "{text}"
        );
    }
}
