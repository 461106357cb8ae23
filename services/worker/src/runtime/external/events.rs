//! The driver's hints, across its restarts.

use std::{sync::Arc, time::Duration};

use edgeio_proto::runtime::v1::{WatchEventsRequest, WatchEventsResponse};
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{connection::Connection, wire};
use crate::runtime::RuntimeEvent;

/// From one attempt to reach a silent driver to the next. The caller looks by itself anyway.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How many hints wait for a slow reader; when it is full, the driver waits.
const WAITING: usize = 64;

/// Follows the driver until the reader is gone: one [`RuntimeEvent::Gap`] each time that it can be heard again, then what happens
/// from there on.
pub(super) fn watch(
    connection: Arc<Connection>,
    first: Streaming<WatchEventsResponse>,
) -> BoxStream<'static, RuntimeEvent> {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut heard = Some(first);
        loop {
            if let Some(events) = heard.take() {
                let followed = tokio::select! {
                    followed = follow(events, &sender) => followed,
                    () = sender.closed() => return,
                };
                if let Err(status) = followed {
                    tracing::debug!(%status, "driver events broke off");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_EVERY) => {}
                () = sender.closed() => return,
            }
            // Its first hint is the gap.
            heard = open(&connection).await.ok();
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

/// Asks for hints, with a session of now. `None` where the driver cannot be reached.
async fn open(connection: &Connection) -> Result<Streaming<WatchEventsResponse>, ()> {
    let (session, _) = connection.session().await.map_err(|_| ())?;
    let mut client = session.client.clone();
    match client.watch_events(WatchEventsRequest {}).await {
        Ok(events) => Ok(events.into_inner()),
        Err(_) => {
            connection.forget(&session).await;
            Err(())
        }
    }
}

/// Passes hints on until they end.
async fn follow(
    mut events: Streaming<WatchEventsResponse>,
    sender: &mpsc::Sender<RuntimeEvent>,
) -> Result<(), Status> {
    while let Some(event) = events.message().await? {
        if sender.send(wire::event(event)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
