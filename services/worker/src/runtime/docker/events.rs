//! The engine's events as hints, across its restarts.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use bollard::{Docker, models::EventMessage, query_parameters::EventsOptionsBuilder};
use futures::{Stream, StreamExt, stream, stream::BoxStream};

use crate::runtime::{EventKind, InstanceId, RuntimeEvent, label};

/// From one attempt to reach a silent engine to the next. An engine takes seconds to start, and the caller looks by itself anyway.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Follows the engine for ever: when the connection breaks, one [`RuntimeEvent::Gap`] as soon as the engine answers again, and
/// then what happens from there on.
pub(super) fn watch(docker: Docker) -> BoxStream<'static, RuntimeEvent> {
    // The engine is first asked when the stream is polled; it remembers, so what happens until then is not missed.
    let first = follow(&docker, SystemTime::now()).boxed();
    let state = (docker, first);
    stream::unfold(state, |(docker, mut events)| async move {
        loop {
            match events.next().await {
                Some(Some(event)) => return Some((event, (docker, events))),
                Some(None) => {}
                None => {
                    // The gap is told when the engine can be asked what it missed.
                    while docker.ping().await.is_err() {
                        tokio::time::sleep(RETRY_EVERY).await;
                    }
                    let again = follow(&docker, SystemTime::now()).boxed();
                    return Some((RuntimeEvent::Gap, (docker, again)));
                }
            }
        }
    })
    .boxed()
}

/// One connection's events; ends when it breaks.
fn follow(docker: &Docker, since: SystemTime) -> impl Stream<Item = Option<RuntimeEvent>> + use<> {
    let since = since
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let filters = HashMap::from([
        ("type", vec!["container"]),
        ("label", vec![label::INSTANCE]),
    ]);
    let options = EventsOptionsBuilder::new()
        .since(&format!("{}.{:09}", since.as_secs(), since.subsec_nanos()))
        .filters(&filters)
        .build();
    let docker = docker.clone();
    let events = docker.events(Some(options));
    events
        .take_while(|event| {
            if let Err(error) = event {
                tracing::debug!(%error, "engine events broke off");
            }
            std::future::ready(event.is_ok())
        })
        .map(|event| event.ok().and_then(parse))
}

fn parse(event: EventMessage) -> Option<RuntimeEvent> {
    let kind = match event.action.as_deref()? {
        "start" => EventKind::Started,
        "die" => EventKind::Exited,
        "oom" => EventKind::Oom,
        "pause" => EventKind::Paused,
        "unpause" => EventKind::Resumed,
        "destroy" => EventKind::Removed,
        _ => return None,
    };
    let instance = event
        .actor?
        .attributes?
        .get(label::INSTANCE)?
        .parse()
        .ok()?;
    Some(RuntimeEvent::Changed {
        instance: InstanceId(instance),
        kind,
    })
}
