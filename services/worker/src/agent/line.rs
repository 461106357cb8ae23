//! The line to the cluster: one outbound connection to the broker, which comes and goes. Jobs do not notice.

use std::time::Duration;

use edgeio_bridge::bus::{BusEvent, WorkerBus};
use edgeio_proto::link::v1::{ChildMessage, ParentMessage};
use edgeio_server::{status::chain, warn_seldom};
use futures::StreamExt as _;
use rand::Rng as _;
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, error, info, warn};

use super::{
    clock::now,
    driver::{Done, Driver},
    identity::Membership,
};

/// Messages to the parent that wait for the broker. They are made anew anyway, so a few are enough.
const OUTBOX: usize = 64;
/// How long a broker address that has no meaning is left alone before the cluster is asked again.
const ADDRESS_AGAIN: Duration = Duration::from_secs(30);
/// The part of a pass's life after which another one is asked for: long before its end, and not by all workers at once.
const RENEWED_AFTER: std::ops::Range<f64> = 0.50..0.67;
/// The cluster is asked for another pass within this when the broker does not take one: passes of many workers may end together,
/// when they or their broker stood still.
const REFUSED_WITHIN: Duration = Duration::from_secs(4);
/// How long the last messages may take to reach the broker.
const HANG_UP_WITHIN: Duration = Duration::from_secs(3);

impl Driver {
    /// Connects to the broker that the cluster named.
    pub(super) async fn dial(&mut self) {
        self.connected = false;
        self.node.disconnect();
        let Membership {
            cluster_id,
            worker_id,
            ..
        } = self.membership;
        let address = self.membership.broker();
        self.show_pass();
        let pass = self.registration.pass.clone();
        let dialled = self.dialer.dial(&address, cluster_id, worker_id, &pass);
        match dialled.await {
            Ok((bus, events)) => {
                let (outbox, messages) = mpsc::channel(OUTBOX);
                self.events = events;
                self.outbox = outbox;
                self.publisher = Some(self.service.spawn(publish(bus, messages)));
            }
            Err(error) => {
                error!(error = %chain(&error), "the broker's address cannot be used");
                self.events = futures::stream::pending().boxed();
                self.later(ADDRESS_AGAIN, Done::RegisterAgain);
            }
        }
    }

    /// Shows the pass that the cluster gave, and has it replaced in time.
    pub(super) fn show_pass(&mut self) {
        let Membership {
            broker_pass,
            pass_life,
            ..
        } = &self.membership;
        if broker_pass.is_empty() {
            return;
        }
        self.registration.pass.renew(broker_pass);
        if !pass_life.is_zero() {
            let after = pass_life.mul_f64(rand::rng().random_range(RENEWED_AFTER));
            self.passes += 1;
            self.later(after, Done::PassAgain(self.passes));
        }
    }

    /// Lets what was said reach the broker.
    pub(super) async fn hang_up(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.outbox = closed;
        // Watchers have nothing to lose; the publisher ends by itself once it has nothing left.
        let publisher = self.publisher.take().map(|handle| handle.id());
        let last = async {
            while let Some(ended) = self.service.join_next_with_id().await {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                if Some(id) == publisher {
                    return;
                }
            }
        };
        if publisher.is_some() && timeout(HANG_UP_WITHIN, last).await.is_err() {
            debug!("the broker did not take the last messages in time");
        }
    }

    /// The bus has something.
    pub(super) fn heard(&mut self, event: Option<BusEvent<ParentMessage>>) {
        match event {
            Some(BusEvent::Message(message)) => {
                if let Err(fault) = self.node.receive(message, now()) {
                    error!(error = %chain(&fault), "orders could not be written to the ledger and do not count");
                }
            }
            Some(BusEvent::Connected) => {
                info!(broker = self.membership.broker(), "broker reached");
                self.connected = true;
                self.refused = false;
                self.attach();
            }
            Some(BusEvent::Disconnected) => {
                if self.connected {
                    warn!(
                        broker = self.membership.broker(),
                        "broker lost, jobs run on"
                    );
                }
                self.connected = false;
                self.node.disconnect();
                // Back soon, or moved, or this worker is not let in any more: the cluster knows.
                self.ask_for_broker_later();
            }
            Some(BusEvent::Renewed) => {
                debug!("another pass is shown to the broker: opening another session");
                self.attach();
            }
            Some(BusEvent::Refused) => {
                // Once: should the next pass be no better, the cluster is asked as for a broker that is away.
                if !std::mem::replace(&mut self.refused, true) {
                    info!(
                        broker = self.membership.broker(),
                        "the broker does not take this worker's pass, asking the cluster for another one"
                    );
                    let after = REFUSED_WITHIN.mul_f64(rand::rng().random_range(0.0..1.0));
                    self.later(after, Done::PassRefused);
                }
            }
            Some(BusEvent::Lost { at_least }) => {
                warn!(
                    at_least,
                    "messages of the cluster were lost: opening another session"
                );
                self.attach();
            }
            Some(BusEvent::Malformed { subject, why }) => {
                warn_seldom!(subject, error = %why, "a message of the cluster is not understood");
            }
            None => {
                // The client is closed for good, which only a bug does.
                error!("the connection to the broker ended");
                self.connected = false;
                self.node.disconnect();
                self.events = futures::stream::pending().boxed();
                self.later(ADDRESS_AGAIN, Done::RegisterAgain);
            }
        }
    }
}

/// Publishes what comes, for as long as there is somebody who says something.
async fn publish(bus: Box<dyn WorkerBus>, mut messages: mpsc::Receiver<ChildMessage>) {
    while let Some(message) = messages.recv().await {
        if let Err(error) = bus.publish(&message).await {
            debug!(error = %chain(&error), "a message to the cluster is dropped");
        }
    }
    if let Err(error) = bus.flush().await {
        debug!(error = %chain(&error), "the last messages may not have arrived");
    }
}
