//! The bridge's end of the bus over NATS.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::codec::{decode_up, within_limit};
use super::super::{BridgeBus, BusEvents, ConnectError, FromWorker, JoinError, PublishError};
use super::connection::Connection;
use super::events::events;
use super::options::Role;
use crate::subject::{Subject, every_report, every_telemetry};

/// The queue group of all bridges of a cluster: the broker gives each message to one of them.
const QUEUE: &str = "bridges";

/// How long a bridge waits for its broker before it attaches without. The cluster speaks to workers as soon as a bridge
/// is there; what is said in the milliseconds before the broker is reached would be lost, and said again a second later.
const FIRST_MOMENT: Duration = Duration::from_secs(1);

/// One bridge's connection to the broker.
pub struct NatsBridgeBus {
    connection: Connection,
}

impl NatsBridgeBus {
    /// Starts to connect to the broker at `address`, and gives it a moment. Whether it is reached then or later, the events
    /// of [`BridgeBus::join`] tell.
    ///
    /// # Errors
    /// [`ConnectError`], for an address that has no meaning. A broker that does not answer is none.
    pub async fn connect(address: &str, bridge: Uuid) -> Result<Self, ConnectError> {
        let name = format!("edgeio-bridge {bridge}");
        let connection = Connection::open(address, &name, &Role::Bridge).await?;
        let mut health = connection.health();
        // In time or not: the events tell.
        let _ = timeout(FIRST_MOMENT, health.wait_for(|health| health.connected)).await;
        Ok(Self { connection })
    }
}

#[async_trait]
impl BridgeBus for NatsBridgeBus {
    async fn join(
        &self,
        cluster: Uuid,
        leave: CancellationToken,
    ) -> Result<BusEvents<FromWorker>, JoinError> {
        let mut subscribers = Vec::new();
        for subject in [every_report(cluster), every_telemetry(cluster)] {
            let subscriber = self
                .connection
                .client()
                .queue_subscribe(subject.clone(), QUEUE.to_owned())
                .await
                .map_err(|_| JoinError { subject })?;
            subscribers.push(subscriber);
        }
        Ok(events(
            self.connection.clone(),
            subscribers,
            leave,
            move |message| decode_up(cluster, &message.subject, &message.payload),
        ))
    }

    async fn control(
        &self,
        cluster: Uuid,
        worker: Uuid,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let subject = Subject::control(cluster, worker);
        within_limit(payload.len(), &subject)?;
        self.connection.publish(&subject, payload).await
    }
}
