//! Subscriptions and the connection's health as one stream of events.
//!
//! There is no task and no queue of our own between the client's subscription and the reader: a slow reader fills
//! the subscription, the client throws away what does not fit, and the reader learns that. Health comes first,
//! so that a reader knows of a loss before it acts on what came after.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::stream::{SelectAll, StreamExt as _, select_all, unfold};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::super::{BusEvent, BusEvents, Malformed};
use super::connection::{Connection, Health};

/// How often the health is compared with the client's state. Only a thrown-away event needs it, so it is rare
/// enough to cost nothing and well within a lease of 45 s.
const RECONCILE: Duration = Duration::from_secs(5);

/// Makes the stream. `decode` turns a message into what the reader wants.
pub(super) fn events<M: Send + 'static>(
    connection: Connection,
    subscribers: Vec<Subscriber>,
    leave: CancellationToken,
    decode: impl Fn(&Message) -> Result<M, Malformed> + Send + 'static,
) -> BusEvents<M> {
    let health = connection.health();
    let mut reconcile = interval(RECONCILE);
    reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (lost, renewals, refused) = {
        let now = health.borrow();
        (now.lost, now.renewals, now.refused)
    };
    let source = Source {
        connection,
        health,
        told: Told {
            connected: None,
            connects: 0,
            lost,
            renewals,
            refused,
        },
        reconcile,
        differed: false,
        messages: select_all(subscribers),
        leave: Some(leave),
        decode,
    };
    unfold(source, |mut source| async move {
        source.next().await.map(|event| (event, source))
    })
    .boxed()
}

/// What the reader has been told of the health.
struct Told {
    connected: Option<bool>,
    connects: u64,
    lost: u64,
    renewals: u64,
    refused: u64,
}

struct Source<F> {
    connection: Connection,
    health: watch::Receiver<Health>,
    told: Told,
    reconcile: Interval,
    differed: bool,
    messages: SelectAll<Subscriber>,
    leave: Option<CancellationToken>,
    decode: F,
}

impl<F> Source<F> {
    async fn next<M>(&mut self) -> Option<BusEvent<M>>
    where
        F: Fn(&Message) -> Result<M, Malformed>,
    {
        loop {
            let now = *self.health.borrow_and_update();
            if let Some(event) = self.told.difference(now) {
                return Some(event);
            }
            tokio::select! {
                biased;
                // Never an error: this source holds the sender through its connection.
                _ = self.health.changed() => {}
                _ = self.reconcile.tick() => self.differed = self.connection.differs(self.differed),
                () = cancelled(self.leave.as_ref()) => {
                    self.leave = None;
                    for subscriber in self.messages.iter_mut() {
                        subscriber.drain().await.ok()?;
                    }
                }
                message = self.messages.next() => {
                    let message = message?;
                    return Some(match (self.decode)(&message) {
                        Ok(decoded) => BusEvent::Message(decoded),
                        Err(why) => {
                            BusEvent::Malformed { subject: message.subject.to_string(), why }
                        }
                    });
                }
            }
        }
    }
}

/// Waits for the wish to leave, if it has not been followed yet.
async fn cancelled(leave: Option<&CancellationToken>) {
    match leave {
        Some(leave) => leave.cancelled().await,
        None => std::future::pending().await,
    }
}

impl Told {
    /// The next thing to tell, if `now` differs from what was told.
    fn difference<M>(&mut self, now: Health) -> Option<BusEvent<M>> {
        if now.lost > self.lost {
            let at_least = now.lost - self.lost;
            self.lost = now.lost;
            return Some(BusEvent::Lost { at_least });
        }
        // A connection that was lost and made again between two looks is told as both.
        if self.connected != Some(false)
            && (!now.connected || (self.connected.is_some() && now.connects != self.connects))
        {
            self.connected = Some(false);
            return Some(BusEvent::Disconnected);
        }
        if self.connected != Some(true) && now.connected {
            self.connected = Some(true);
            (self.connects, self.renewals) = (now.connects, now.renewals);
            return Some(BusEvent::Connected);
        }
        if self.connected == Some(true) && now.renewals != self.renewals {
            self.renewals = now.renewals;
            return Some(BusEvent::Renewed);
        }
        if now.refused != self.refused {
            self.refused = now.refused;
            return Some(BusEvent::Refused);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(told: &mut Told, connected: bool, connects: u64, lost: u64) -> Vec<BusEvent<()>> {
        let now = Health {
            connected,
            connects,
            lost,
            ..Health::default()
        };
        std::iter::from_fn(|| told.difference(now)).collect()
    }

    #[test]
    fn the_first_event_tells_the_state_and_a_short_outage_is_told() {
        let mut told = Told {
            connected: None,
            connects: 0,
            lost: 0,
            renewals: 0,
            refused: 0,
        };
        assert_eq!(all(&mut told, false, 0, 0), [BusEvent::Disconnected]);
        assert_eq!(all(&mut told, false, 0, 0), []);
        assert_eq!(all(&mut told, true, 1, 0), [BusEvent::Connected]);
        assert_eq!(all(&mut told, true, 1, 3), [BusEvent::Lost { at_least: 3 }]);
        assert_eq!(
            all(&mut told, true, 2, 3),
            [BusEvent::Disconnected, BusEvent::Connected]
        );
        assert_eq!(
            all(&mut told, false, 2, 4),
            [BusEvent::Lost { at_least: 1 }, BusEvent::Disconnected]
        );
        let mut late = Told {
            connected: None,
            connects: 0,
            lost: 4,
            renewals: 0,
            refused: 0,
        };
        assert_eq!(all(&mut late, true, 7, 4), [BusEvent::Connected]);
        let renewed = Health {
            connected: true,
            connects: 7,
            lost: 4,
            renewals: 1,
            ..Health::default()
        };
        assert_eq!(late.difference::<()>(renewed), Some(BusEvent::Renewed));
        assert_eq!(late.difference::<()>(renewed), None);
        let refused = Health {
            refused: 2,
            ..renewed
        };
        assert_eq!(late.difference::<()>(refused), Some(BusEvent::Refused));
        assert_eq!(late.difference::<()>(refused), None);
    }
}
