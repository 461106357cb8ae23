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
use tokio::{task::AbortHandle, time::timeout};
use uuid::Uuid;

use super::super::{ConnectError, Pass, PublishError};
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
    /// How often the connection was made anew to show another pass.
    pub(super) renewals: u64,
    /// How often the broker did not take the pass.
    pub(super) refused: u64,
    /// It is being made anew for that, which takes a moment: what is published meanwhile waits in the client.
    pub(super) renewing: bool,
}

/// A connection that outlives every outage.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    health: Arc<watch::Sender<Health>>,
    _renewer: Arc<Renewer>,
}

/// Ends, with the last clone of the connection, the task that makes it anew.
struct Renewer(AbortHandle);

impl Drop for Renewer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Opens the connection of `client`, whose pass is shown each time.
    pub(super) async fn open(
        address: &str,
        client: Uuid,
        name: &str,
        role: &Role,
        pass: &Pass,
    ) -> Result<Self, ConnectError> {
        let server = parse_address(address)?;
        let health = Arc::new(watch::Sender::new(Health::default()));
        let (told, asked) = (Arc::clone(&health), Arc::clone(&health));
        let mut passes = pass.changes();
        let client = connect_options(name, client, role, pass)
            .reconnect_delay_callback(move |attempts| {
                let now = *asked.borrow();
                if now.renewing && attempts <= 1 {
                    return Duration::ZERO;
                }
                reconnect_delay(attempts, now.connects > 0)
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
        let (renewed, told) = (client.clone(), Arc::clone(&health));
        let renewer = tokio::spawn(async move {
            while passes.changed().await.is_ok() {
                // Without a connection the next one shows it anyway.
                if told.borrow().connected {
                    told.send_modify(|health| health.renewing = true);
                    if renewed.force_reconnect().await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self {
            client,
            health,
            _renewer: Arc::new(Renewer(renewer.abort_handle())),
        })
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
                health.renewing = false;
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
            if std::mem::take(&mut health.renewing) {
                health.renewals += 1;
            } else {
                health.connects += 1;
            }
            health.connected = true;
        }),
        // Of our own will, and over in a moment.
        Event::Disconnected if health.borrow().renewing => {}
        Event::Disconnected | Event::Closed => {
            health.send_modify(|health| health.connected = false);
        }
        Event::SlowConsumer(_) => health.send_modify(|health| health.lost += 1),
        // Told as an event of the bus.
        Event::ServerError(error) if is_about_the_pass(&error.to_string()) => {
            health.send_modify(|health| health.refused += 1);
            tracing::debug!(%error, "broker does not take the pass");
        }
        // A refused subject: someone must look.
        Event::ServerError(error) => tracing::warn!(%error, "broker refuses"),
        Event::ClientError(error) => {
            let refused = is_about_the_pass(&error.to_string());
            health.send_modify(|health| {
                health.refused += u64::from(refused);
                if std::mem::take(&mut health.renewing) {
                    health.connected = false;
                }
            });
            tracing::debug!(%error, "broker not reached");
        }
        Event::LameDuckMode | Event::Draining => {
            tracing::debug!(%event, "broker connection changes")
        }
    }
}

/// Whether an error says that the pass is not good: at the door, or later, when it has run out or was revoked. Brokers have no codes
/// for that.
fn is_about_the_pass(error: &str) -> bool {
    let error = error.to_lowercase();
    error.contains("authorization violation")
        || ["user authentication ", "account authentication "]
            .iter()
            .any(|begin| error.contains(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_pass_is_told_from_what_is_about_a_subject() {
        for pass in [
            "nats: authorization violation",
            "nats: User Authentication Expired",
            "nats: 'User Authentication Revoked'",
            "nats: Account Authentication Expired",
        ] {
            assert!(is_about_the_pass(pass), "{pass}");
        }
        for other in [
            "nats: Permissions Violation for Publish to \"a\"",
            "nats: maximum payload violation",
            "nats: timed out",
        ] {
            assert!(!is_about_the_pass(other), "{other}");
        }
    }
}
