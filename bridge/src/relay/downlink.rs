//! Down: from the cluster's stream onto the bus, in order.
//!
//! What cannot be published is dropped: the link compares states and sends again what is still wanted, so a command
//! that waited for a broker would only arrive beside its successor.

use tonic::{Status, Streaming};
use uuid::Uuid;

use super::counters::Counters;
use super::wire::{Carried, Down, DownKind};
use crate::bus::{BridgeBus, PublishError};

/// Carries until the cluster ends the stream; tells why it did.
pub(super) async fn run(
    inbound: &mut Streaming<Down>,
    bus: &dyn BridgeBus,
    cluster: Uuid,
    counters: &Counters,
) -> Result<(), Status> {
    while let Some(response) = inbound.message().await? {
        match response.kind {
            Some(DownKind::Worker(down)) => {
                publish(bus, cluster, down, counters).await;
            }
            // Said once and known; a kind that this version does not know is the cluster's to withhold.
            Some(DownKind::Welcome(_)) | None => {}
        }
    }
    Ok(())
}

async fn publish(bus: &dyn BridgeBus, cluster: Uuid, down: Carried, counters: &Counters) {
    let (Ok(worker), false) = (Uuid::try_parse(&down.worker), down.payload.is_empty()) else {
        if counters.malformed.may_log() {
            tracing::error!(worker = down.worker, "the cluster sent what is no message");
        }
        return;
    };
    match bus.control(cluster, worker, down.payload).await {
        Ok(()) => counters.commands.add(1),
        Err(error) => {
            let due = counters.commands_failed.may_log();
            let total = counters.commands_failed.total();
            let cause = &error as &dyn std::error::Error;
            match error {
                // The cluster's fault, and it will not pass by itself.
                PublishError::TooLarge { .. } => {
                    tracing::error!(%worker, error = cause, total, "cannot tell a worker");
                }
                PublishError::Disconnected { .. }
                | PublishError::Stalled { .. }
                | PublishError::Closed { .. }
                    if due =>
                {
                    tracing::warn!(%worker, error = cause, total, "cannot tell a worker");
                }
                PublishError::Disconnected { .. }
                | PublishError::Stalled { .. }
                | PublishError::Closed { .. } => {}
            }
        }
    }
}
