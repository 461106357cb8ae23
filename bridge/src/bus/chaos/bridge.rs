//! The bridge's end: what it tells workers suffers; what it hears has suffered at theirs.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::{AccountError, BridgeBus, BusEvents, FromWorker, JoinError, PublishError};
use super::Chaos;

/// A bridge's bus that is disturbed in what it tells workers.
pub struct ChaosBridgeBus<B> {
    inner: Arc<B>,
    chaos: Arc<Chaos>,
}

impl<B> ChaosBridgeBus<B> {
    /// Disturbs a bus.
    #[must_use]
    pub fn new(inner: B, chaos: Arc<Chaos>) -> Self {
        Self {
            inner: Arc::new(inner),
            chaos,
        }
    }
}

#[async_trait]
impl<B: BridgeBus + 'static> BridgeBus for ChaosBridgeBus<B> {
    fn public_key(&self) -> String {
        self.inner.public_key()
    }

    fn present(&self, jwt: &str) {
        self.inner.present(jwt);
    }

    async fn tell_account(&self, account: &str, user: &str) -> Result<(), AccountError> {
        self.inner.tell_account(account, user).await
    }

    async fn join(
        &self,
        cluster: Uuid,
        leave: CancellationToken,
    ) -> Result<BusEvents<FromWorker>, JoinError> {
        self.inner.join(cluster, leave).await
    }

    async fn control(
        &self,
        cluster: Uuid,
        worker: Uuid,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        for delay in self.chaos.fate() {
            if delay.is_zero() {
                self.inner.control(cluster, worker, payload.clone()).await?;
                continue;
            }
            let (inner, payload) = (Arc::clone(&self.inner), payload.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // Lost, then: nobody waits for it.
                let _ = inner.control(cluster, worker, payload).await;
            });
        }
        Ok(())
    }
}
