//! Events in one line each, for the story of a schedule that failed.

use edgeio_proto::link::v1::{self, child_message, parent_message::Message};

use crate::world::What;

/// What one event is; `None` for those that tell nothing.
pub(crate) fn event(at: i64, what: &What) -> Option<String> {
    let text = match what {
        What::Up(message) => format!("up   {}", up(message)),
        What::Down(message) => format!("down {}", down(&message.0)),
        What::Fault(fault) => format!("     {fault:?}"),
        What::Attach => "     the child attaches".to_owned(),
        What::Wish => "     a user wishes".to_owned(),
        What::ParentTurn | What::ChildTurn | What::Work => return None,
    };
    Some(format!("{at:>7} {text}"))
}

/// How many parts a message has.
pub(crate) fn parts(message: &v1::ParentMessage) -> u32 {
    match &message.message {
        Some(Message::Snapshot(s)) => s.chunks,
        Some(Message::Delta(d)) => d.chunks,
        _ => 1,
    }
}

pub(crate) fn up(message: &v1::ChildMessage) -> String {
    match &message.message {
        Some(child_message::Message::Report(r)) => {
            let entry = |e: &v1::InstanceReport| {
                let (id, generation) = (tail(&e.id), e.generation);
                format!("{id}.{generation} {:?} {:?}", e.desired(), e.phase())
            };
            let entries: Vec<String> = r.entries.iter().take(20).map(entry).collect();
            format!(
                "session {} report {} {}{}/{} applied {:?} [{}]",
                r.session_epoch,
                r.seq,
                if r.full { "full " } else { "" },
                r.chunk,
                r.chunks,
                r.applied.as_ref().map(|a| (a.issuer_epoch, a.revision)),
                entries.join(", ")
            )
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn down(message: &v1::ParentMessage) -> String {
    let entries = |list: &[v1::Assignment]| {
        let entry =
            |e: &v1::Assignment| format!("{}.{} {:?}", tail(&e.id), e.generation, e.desired());
        list.iter()
            .take(20)
            .map(entry)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let text = match &message.message {
        Some(Message::Snapshot(s)) => format!(
            "snapshot ({}, {}) {}/{} [{}]",
            s.issuer_epoch,
            s.revision,
            s.chunk,
            s.chunks,
            entries(&s.entries)
        ),
        Some(Message::Delta(d)) => format!(
            "delta ({}, {}..{}) {}/{} [{}]",
            d.issuer_epoch,
            d.from_revision,
            d.to_revision,
            d.chunk,
            d.chunks,
            entries(&d.entries)
        ),
        other => format!("{other:?}"),
    };
    format!("session {} {text}", message.session_epoch)
}

/// The end of an id: they are counted up.
fn tail(id: &str) -> &str {
    id.get(id.len().saturating_sub(4)..).unwrap_or(id)
}
