//! The worker's end: what it says suffers; what it hears has suffered at the bridge's.

use std::sync::Arc;

use async_trait::async_trait;
use edgeio_proto::link::v1::{ChildMessage, ParentMessage};
use uuid::Uuid;

use super::super::{BusEvents, ConnectError, Dial, Pass, PublishError, WorkerBus};
use super::Chaos;

/// Reaches the broker as `D` does, and disturbs what the worker says there.
pub struct ChaosDial<D> {
    inner: D,
    chaos: Arc<Chaos>,
}

impl<D> ChaosDial<D> {
    /// Disturbs what comes of `inner`.
    #[must_use]
    pub fn new(inner: D, chaos: Arc<Chaos>) -> Self {
        Self { inner, chaos }
    }
}

#[async_trait]
impl<D: Dial> Dial for ChaosDial<D> {
    async fn dial(
        &self,
        address: &str,
        cluster: Uuid,
        worker: Uuid,
        pass: &Pass,
    ) -> Result<(Box<dyn WorkerBus>, BusEvents<ParentMessage>), ConnectError> {
        let (inner, events) = self.inner.dial(address, cluster, worker, pass).await?;
        let bus = ChaosWorkerBus {
            inner: inner.into(),
            chaos: Arc::clone(&self.chaos),
        };
        Ok((Box::new(bus), events))
    }
}

struct ChaosWorkerBus {
    inner: Arc<dyn WorkerBus>,
    chaos: Arc<Chaos>,
}

#[async_trait]
impl WorkerBus for ChaosWorkerBus {
    async fn publish(&self, message: &ChildMessage) -> Result<(), PublishError> {
        for delay in self.chaos.fate() {
            if delay.is_zero() {
                self.inner.publish(message).await?;
                continue;
            }
            let (inner, message) = (Arc::clone(&self.inner), message.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // Lost, then: nobody waits for it.
                let _ = inner.publish(&message).await;
            });
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), PublishError> {
        self.inner.flush().await
    }
}
