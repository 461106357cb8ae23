//! One NATS connection, its health, and publishing that never queues behind an absent broker.
//!
//! The client tells what happens through a small channel of its own, and throws events away when that is full (each
//! message lost to a slow reader is one). So the health is a level, mended from the client's state now and then,
//! and an event only hastens it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Event, connection::State};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::{ConnectError, PublishError};
use super::options::{Role, connect_options, parse_address, reconnect_delay};
use crate::subject::Subject;

/// How long a publisher waits for room. Room is missing only while the broker does not read its socket; a report that
/// waited longer is better made anew.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(5);
/// How long a graceful end waits for the broker to confirm.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// What is known of the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// The broker is reached.
    pub(super) connected: bool,
    /// How often it was reached.
    pub(super) connects: u64,
    /// Messages thrown away because nobody took them; at least.
    pub(super) lost: u64,
}

/// A connection that outlives every outage.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    health: Arc<watch::Sender<Health>>,
}

impl Connection {
    pub(super) async fn open(address: &str, name: &str, role: &Role) -> Result<Self, ConnectError> {
        let server = parse_address(address)?;
        let health = Arc::new(watch::Sender::new(Health::default()));
        let (told, asked) = (Arc::clone(&health), Arc::clone(&health));
        let client = connect_options(name, role)
            .reconnect_delay_callback(move |attempts| {
                reconnect_delay(attempts, asked.borrow().connects > 0)
            })
            .event_callback(move |event| {
                note(&told, &event);
                std::future::ready(())
            })
            .connect(server)
            .await
            .map_err(|source| ConnectError::Client {
                address: address.to_owned(),
                source,
            })?;
        Ok(Self { client, health })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Says whether the health differs from the client's state. A moment's difference is an event on its way; one
    /// that was seen at the look before too is an event that was thrown away, and is mended.
    pub(super) fn differs(&self, did_before: bool) -> bool {
        let connected = self.client.connection_state() == State::Connected;
        let differs = self.health.borrow().connected != connected;
        if differs && did_before {
            self.health.send_modify(|health| {
                health.connected = connected;
                health.connects += u64::from(connected);
            });
        }
        differs && !did_before
    }

    /// Publishes now or not at all: the client would keep messages for a broker that is away and send them, stale,
    /// when it is back.
    pub(super) async fn publish(
        &self,
        subject: &Subject,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let subject = subject.to_string();
        if !self.health.borrow().connected {
            return Err(PublishError::Disconnected { subject });
        }
        match timeout(
            PUBLISH_PATIENCE,
            self.client.publish(subject.clone(), payload),
        )
        .await
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(PublishError::Closed { subject }),
            Err(_elapsed) => Err(PublishError::Stalled {
                subject,
                waited: PUBLISH_PATIENCE,
            }),
        }
    }

    /// Waits until the broker has taken what was published on `subject` and elsewhere.
    pub(super) async fn flush(&self, subject: &Subject) -> Result<(), PublishError> {
        let subject = subject.to_string();
        if !self.health.borrow().connected {
            return Err(PublishError::Disconnected { subject });
        }
        match timeout(FLUSH_PATIENCE, self.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(PublishError::Closed { subject }),
            Err(_elapsed) => Err(PublishError::Stalled {
                subject,
                waited: FLUSH_PATIENCE,
            }),
        }
    }
}

/// Takes an event into the health. Never waits: the client's events queue behind it.
fn note(health: &watch::Sender<Health>, event: &Event) {
    match event {
        Event::Connected => health.send_modify(|health| {
            health.connected = true;
            health.connects += 1;
        }),
        Event::Disconnected | Event::Closed => {
            health.send_modify(|health| health.connected = false);
        }
        Event::SlowConsumer(_) => health.send_modify(|health| health.lost += 1),
        // A refused subject or credential: someone must look.
        Event::ServerError(error) => tracing::warn!(%error, "broker refuses"),
        Event::ClientError(error) => tracing::debug!(%error, "broker not reached"),
        Event::LameDuckMode | Event::Draining => {
            tracing::debug!(%event, "broker connection changes")
        }
    }
}
