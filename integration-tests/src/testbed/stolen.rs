//! What a thief does with a worker's files, or with its cluster's keys: uses the broker as somebody that it is not.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use async_nats::{Auth, AuthError, Client, ConnectOptions};
use edgeio_cluster::broker::{Keys, Minter};
use edgeio_proto::subject::inbox;
use nkeys::KeyPair;
use uuid::Uuid;

/// How long what a thief signs himself is good: longer than any story.
const LIFE: Duration = Duration::from_secs(3600);

/// Who somebody is to the broker: a key, and a pass for it.
#[derive(Clone)]
pub struct Stolen {
    /// The broker's address.
    pub broker: String,
    /// The cluster.
    pub cluster: Uuid,
    /// Whose the pass is.
    pub id: Uuid,
    /// The key.
    pub keys: Arc<KeyPair>,
    /// The pass.
    pub jwt: String,
}

impl Stolen {
    /// From the data directory of a worker.
    ///
    /// # Errors
    /// There is nothing, or no pass in it.
    pub fn from(data: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = data.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let known: serde_json::Value = serde_json::from_str(&read("identity.json")?)?;
        let text = |key: &str| {
            let text = known.get(key).and_then(serde_json::Value::as_str);
            let text = text.with_context(|| format!("no {key} in {known}"))?;
            ensure!(!text.is_empty(), "an empty {key}");
            Ok(text)
        };
        Ok(Self {
            broker: format!("{}:{}", text("broker_address")?, known["broker_port"]),
            cluster: text("cluster_id")?.parse()?,
            id: text("worker_id")?.parse()?,
            keys: Arc::new(KeyPair::from_seed(read("nkey.seed")?.trim())?),
            jwt: text("broker_pass")?.to_owned(),
        })
    }

    /// A pass of another, signed by the keys in the data directory of the same cluster.
    fn signed(
        &self,
        cluster_data: &Path,
        sign: impl FnOnce(&Minter, Uuid, &str, i64, i64) -> Result<String>,
    ) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(since.unwrap_or_default().as_secs())?;
        let minter = Minter::new(Keys::open(cluster_data, now)?, self.cluster);
        let (id, keys) = (Uuid::now_v7(), Arc::new(KeyPair::new_user()));
        let until = now + i64::try_from(LIFE.as_secs())?;
        let jwt = sign(&minter, id, &keys.public_key(), now, until)?;
        Ok(Self {
            broker: self.broker.clone(),
            cluster: self.cluster,
            id,
            keys,
            jwt,
        })
    }

    /// A bridge of the same cluster, with the keys of its data directory.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub fn bridge(&self, cluster_data: &Path) -> Result<Self> {
        self.signed(cluster_data, |minter, id, key, from, until| {
            Ok(minter.bridge(id, key, from, until)?)
        })
    }

    /// A worker of which the same cluster knows nothing, with the keys of its data directory.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub fn ghost(&self, cluster_data: &Path) -> Result<Self> {
        self.signed(cluster_data, |minter, id, key, from, until| {
            Ok(minter.worker(id, key, from, until)?)
        })
    }

    /// Uses it.
    ///
    /// # Errors
    /// The broker does not let it in.
    pub async fn connect(&self) -> Result<Client> {
        self.connect_and_tell(Told::default()).await
    }

    /// Uses it; what the broker says goes into `told`.
    ///
    /// # Errors
    /// The broker does not let it in.
    pub async fn connect_and_tell(&self, told: Told) -> Result<Client> {
        let Self { keys, jwt, .. } = self.clone();
        let show = move |nonce: Vec<u8>| {
            let (keys, jwt) = (keys.clone(), jwt.clone());
            async move {
                let mut auth = Auth::new();
                auth.signature = Some(keys.sign(&nonce).map_err(AuthError::new)?);
                auth.jwt = Some(jwt);
                Ok(auth)
            }
        };
        let client = ConnectOptions::with_auth_callback(show)
            .custom_inbox_prefix(inbox(self.id))
            .event_callback(move |event| {
                told.lock().push(event.to_string());
                std::future::ready(())
            })
            .connect(&self.broker)
            .await;
        client.with_context(|| format!("connect to the broker at {}", self.broker))
    }
}

/// What a broker told a thief, in order.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }
}
