//! What a client shows to the broker: a pass from the cluster, and a signature that proves that the pass is its own.
//!
//! The key never leaves this process. A pass is replaced while the client runs: each connection that is made shows the newest.

use std::sync::Arc;

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;
use tokio::sync::watch;

/// A key, and the newest pass for it. Clones share both.
#[derive(Clone)]
pub struct Pass(Arc<Inner>);

struct Inner {
    keys: KeyPair,
    jwt: watch::Sender<Option<String>>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pass").field(&self.public_key()).finish()
    }
}

impl Pass {
    /// For the key with this seed; nothing is shown until a pass is there.
    ///
    /// # Errors
    /// It is no seed.
    pub fn of(seed: &str) -> Result<Self, nkeys::error::Error> {
        Ok(Self::with(KeyPair::from_seed(seed)?))
    }

    /// For a new key.
    #[must_use]
    pub fn new() -> Self {
        Self::with(KeyPair::new_user())
    }

    fn with(keys: KeyPair) -> Self {
        let jwt = watch::Sender::new(None);
        Self(Arc::new(Inner { keys, jwt }))
    }

    /// The public key that a pass is to be for.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.0.keys.public_key()
    }

    /// Shows this from now on. A connection that shows another one is made anew.
    pub fn renew(&self, jwt: &str) {
        self.0.jwt.send_if_modified(|shown| {
            let differs = shown.as_deref() != Some(jwt);
            if differs {
                *shown = Some(jwt.to_owned());
            }
            differs
        });
    }

    /// Tells of other passes than the one that is shown now.
    pub(super) fn changes(&self) -> watch::Receiver<Option<String>> {
        self.0.jwt.subscribe()
    }

    /// What is shown to a broker that greets with `nonce`.
    pub(super) fn show(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let jwt = self.0.jwt.borrow().clone();
        self.sign(nonce, jwt)
    }

    /// As [`Pass::show`], with another pass for the same key.
    pub(super) fn sign(&self, nonce: &[u8], jwt: Option<String>) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        if jwt.is_some() {
            auth.signature = Some(self.0.keys.sign(nonce).map_err(AuthError::new)?);
            auth.jwt = jwt;
        }
        Ok(auth)
    }
}

impl Default for Pass {
    fn default() -> Self {
        Self::new()
    }
}
