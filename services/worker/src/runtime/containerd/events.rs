//! The engine's events as hints, across its restarts.

use std::{sync::Arc, time::Duration};

use containerd_client::{
    events::{ContainerDelete, TaskExit, TaskOom, TaskPaused, TaskResumed, TaskStart},
    services::v1::SubscribeRequest,
    types::Envelope,
};
use futures::stream::BoxStream;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::engine::{Engine, NAMESPACE, call};
use crate::runtime::{EventKind, InstanceId, RuntimeEvent};

/// From one attempt to reach a silent engine to the next. An engine takes seconds to start, and the caller looks by itself anyway.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How many hints wait for a slow reader; when it is full, the engine waits.
const WAITING: usize = 64;

/// Follows the engine until the reader is gone: each time that it answers first, one [`RuntimeEvent::Gap`], and then what happens
/// from there on.
///
/// The engine answers a subscription only with its first event, so what happens in the moments between asking and being heard can be
/// missed; the caller looks by itself now and then anyway.
pub(super) fn watch(engine: Arc<Engine>) -> BoxStream<'static, RuntimeEvent> {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        loop {
            if engine.version().version(call(())).await.is_ok() {
                // The first time too: it may have been away when it was asked what it can do.
                if sender.send(RuntimeEvent::Gap).await.is_err() {
                    return;
                }
                let followed = tokio::select! {
                    followed = follow(&engine, &sender) => followed,
                    () = sender.closed() => return,
                };
                if let Err(status) = followed {
                    tracing::debug!(%status, "engine events broke off");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_EVERY) => {}
                () = sender.closed() => return,
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

/// One connection's events; ends when it breaks.
async fn follow(
    engine: &Engine,
    sender: &mpsc::Sender<RuntimeEvent>,
) -> Result<(), containerd_client::tonic::Status> {
    let filters = ["/tasks/", "/containers/delete"]
        .map(|topic| format!("namespace=={NAMESPACE},topic~=\"^{topic}\""));
    let request = SubscribeRequest {
        filters: filters.into(),
    };
    let mut events = engine.events().subscribe(call(request)).await?.into_inner();
    while let Some(event) = events.message().await? {
        if let Some(hint) = parse(&event)
            && sender.send(hint).await.is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

fn parse(event: &Envelope) -> Option<RuntimeEvent> {
    let bytes = event.event.as_ref()?.value.as_slice();
    let (container, kind) = match event.topic.as_str() {
        "/tasks/start" => (
            TaskStart::decode(bytes).ok()?.container_id,
            EventKind::Started,
        ),
        "/tasks/exit" => {
            let exit = TaskExit::decode(bytes).ok()?;
            // Another process in the container has an id of its own.
            if exit.id != exit.container_id {
                return None;
            }
            (exit.container_id, EventKind::Exited)
        }
        "/tasks/oom" => (TaskOom::decode(bytes).ok()?.container_id, EventKind::Oom),
        "/tasks/paused" => (
            TaskPaused::decode(bytes).ok()?.container_id,
            EventKind::Paused,
        ),
        "/tasks/resumed" => (
            TaskResumed::decode(bytes).ok()?.container_id,
            EventKind::Resumed,
        ),
        "/containers/delete" => (ContainerDelete::decode(bytes).ok()?.id, EventKind::Removed),
        _ => return None,
    };
    let instance = InstanceId(container.parse().ok()?);
    Some(RuntimeEvent::Changed { instance, kind })
}

#[cfg(test)]
mod tests {
    use prost_types::Any;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_the_end_of_the_job_itself_is_its_end() {
        let instance = InstanceId(Uuid::from_u128(5));
        let exit = |id: &str| {
            let exit = TaskExit {
                container_id: instance.to_string(),
                id: id.to_owned(),
                ..TaskExit::default()
            };
            Envelope {
                topic: "/tasks/exit".to_owned(),
                event: Some(Any {
                    type_url: "containerd.events.TaskExit".to_owned(),
                    value: exit.encode_to_vec(),
                }),
                ..Envelope::default()
            }
        };
        assert_eq!(parse(&exit("exec-1")), None);
        let kind = EventKind::Exited;
        assert_eq!(
            parse(&exit(&instance.to_string())),
            Some(RuntimeEvent::Changed { instance, kind })
        );
    }
}
