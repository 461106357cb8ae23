//! Down: from the cluster's stream onto the bus, in order.
//!
//! What cannot be published is dropped: the link compares states and sends again what is still wanted, so a command
//! that waited for a broker would only arrive beside its successor.

use edgeio_proto::cluster::v1::{AccountTaken, AccountUpdate};
use edgeio_server::status::chain;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::counters::Counters;
use super::wire::{Carried, Down, DownKind, Up, UpKind};
use crate::bus::{BridgeBus, PublishError};

/// Carries until the cluster ends the stream; tells why it did. What came of accounts goes into `answers`.
pub(super) async fn run(
    inbound: &mut Streaming<Down>,
    bus: &dyn BridgeBus,
    cluster: Uuid,
    counters: &Counters,
    answers: mpsc::Sender<Up>,
) -> Result<(), Status> {
    // Beside the rest: a broker that does not answer must not hold orders up.
    let mut accounts = FuturesUnordered::new();
    loop {
        let response = tokio::select! {
            response = inbound.message() => match response? {
                Some(response) => response,
                None => return Ok(()),
            },
            Some(taken) = accounts.next(), if !accounts.is_empty() => {
                // Without room the cluster tells again.
                let _ = answers.try_send(UpKind::Account(taken).into());
                continue;
            }
        };
        match response.kind {
            Some(DownKind::Worker(down)) => {
                publish(bus, cluster, down, counters).await;
            }
            Some(DownKind::Pass(pass)) => bus.present(&pass.jwt),
            Some(DownKind::Account(update)) => accounts.push(tell(bus, update)),
            // Said once and known; a kind that this version does not know is the cluster's to withhold.
            Some(DownKind::Welcome(_)) | None => {}
        }
    }
}

async fn tell(bus: &dyn BridgeBus, update: AccountUpdate) -> AccountTaken {
    let told = bus
        .tell_account(&update.account_jwt, &update.user_jwt)
        .await;
    AccountTaken {
        serial: update.serial,
        error: told
            .err()
            .map_or_else(String::new, |error| chain(&error).to_string()),
    }
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
