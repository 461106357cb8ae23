//! Up: from the bus into the queue for the cluster.
//!
//! Room in the queue is taken before a message is taken from the bus, so nothing is in hand when the session ends at
//! any await, and a cluster that does not read stops this from reading.

use std::time::Duration;

use bytes::Bytes;
use edgeio_proto::cluster::v1::BrokerState;
use futures::StreamExt as _;
use tokio::sync::mpsc::{self, Permit, error::TrySendError};
use tokio::time::{Interval, MissedTickBehavior, interval};
use uuid::Uuid;

use super::coalesce::Coalescer;
use super::counters::Counters;
use super::wire::{Carried, Up, UpKind};
use crate::bus::{BusEvent, BusEvents, FromWorker, Malformed};

pub(super) struct Uplink<'a> {
    events: BusEvents<FromWorker>,
    queue: mpsc::Sender<Up>,
    samples: Coalescer,
    interval: Interval,
    counters: &'a Counters,
}

impl<'a> Uplink<'a> {
    pub(super) fn new(
        events: BusEvents<FromWorker>,
        queue: mpsc::Sender<Up>,
        every: Duration,
        counters: &'a Counters,
    ) -> Self {
        let mut interval = interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            events,
            queue,
            samples: Coalescer::default(),
            interval,
            counters,
        }
    }

    /// Carries until the bus's events end. May be dropped at any await without losing a report.
    pub(super) async fn run(&mut self) {
        while let Ok(permit) = self.queue.reserve().await {
            let mut permit = Some(permit);
            // Until the room is used.
            while let Some(room) = permit.take() {
                tokio::select! {
                    event = self.events.next() => match event {
                        Some(event) => permit = take(event, room, &mut self.samples, self.counters),
                        None => return,
                    },
                    _ = self.interval.tick() => {
                        self.samples.flush();
                        permit = Some(room);
                    }
                    // Unbiased, so that a flood of reports does not starve the samples.
                    () = std::future::ready(()), if self.samples.is_due() => {
                        match self.samples.pop() {
                            Some((worker, sample)) => {
                                self.counters.samples_sent.add(1);
                                room.send(carried(worker, sample));
                            }
                            None => permit = Some(room),
                        }
                    }
                }
            }
        }
    }

    /// After the stream broke: keeps for the next session what has arrived here, as far as there is room.
    pub(super) async fn keep_rest(&mut self) {
        let mut overflow = 0;
        while let Some(event) = self.events.next().await {
            if let BusEvent::Message(said) = event
                && !said.sample
            {
                match self.queue.try_send(carried(said.worker, said.payload)) {
                    Ok(()) => self.counters.reports.add(1),
                    Err(TrySendError::Full(_) | TrySendError::Closed(_)) => overflow += 1,
                }
            }
        }
        if overflow > 0 {
            lost(self.counters, overflow);
        }
    }

    /// Waits until the transport has taken everything that was queued.
    pub(super) async fn drained(&mut self) {
        // All the room there is can be had only when nothing waits. Never an error: the queue is not closed.
        let _ = self.queue.reserve_many(self.queue.max_capacity()).await;
    }
}

/// Puts an event where it belongs. Gives the room back if it was not needed.
fn take<'q>(
    event: BusEvent<FromWorker>,
    room: Permit<'q, Up>,
    samples: &mut Coalescer,
    counters: &Counters,
) -> Option<Permit<'q, Up>> {
    match event {
        BusEvent::Message(said) if said.sample => {
            counters.samples.add(1);
            samples.put(said.worker, said.payload);
            Some(room)
        }
        BusEvent::Message(said) => {
            counters.reports.add(1);
            room.send(carried(said.worker, said.payload));
            None
        }
        BusEvent::Connected => {
            tracing::info!("broker reached");
            room.send(broker(true));
            None
        }
        BusEvent::Disconnected => {
            tracing::warn!("broker not reached");
            room.send(broker(false));
            None
        }
        // Over in a moment; what was lost in it shows as a gap.
        BusEvent::Renewed => {
            tracing::debug!("broker connection made anew with another pass");
            Some(room)
        }
        // The cluster sends another one in time, and when the bridge attaches again.
        BusEvent::Refused => {
            tracing::warn!("the broker does not take this bridge's pass");
            Some(room)
        }
        BusEvent::Lost { at_least } => {
            lost(counters, at_least);
            Some(room)
        }
        BusEvent::Malformed { subject, why } => {
            malformed(counters, &subject, &why);
            Some(room)
        }
    }
}

fn malformed(counters: &Counters, subject: &str, why: &Malformed) {
    if counters.malformed.may_log() {
        let total = counters.malformed.total();
        tracing::warn!(subject, %why, total, "dropped what is no message");
    }
}

fn lost(counters: &Counters, more: u64) {
    if counters.lost.may_log_after(more) {
        let total = counters.lost.total();
        tracing::warn!(
            more,
            total,
            "lost reports that came faster than the cluster took them"
        );
    }
}

fn carried(worker: Uuid, payload: Bytes) -> Up {
    let worker = worker.to_string();
    UpKind::Worker(Carried { worker, payload }).into()
}

fn broker(connected: bool) -> Up {
    UpKind::Broker(BrokerState { connected }).into()
}
