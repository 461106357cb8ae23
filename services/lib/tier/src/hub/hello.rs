//! Opening a session: its number is minted in the database, one per attempt of the child.

use edgeio_domain::{
    child::{Accepted, ChildState},
    ids::{AttachId, ChildId},
};
use edgeio_link::{PROTOCOL, convert, parent::Parent};
use edgeio_proto::link::v1::{self, parent_message};
use edgeio_store::{Meta, StoreError, Write};
use tracing::{info, warn};

use super::{Outbox, State, refuse, session::Session};
use crate::context::Context;

pub(super) async fn open(
    context: &Context,
    state: &mut State,
    id: ChildId,
    hello: &v1::Hello,
) -> Result<Outbox, StoreError> {
    if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL) {
        let text = format!(
            "this side speaks protocol {PROTOCOL}, the child {} to {}: upgrade the older one",
            hello.protocol_min, hello.protocol_max
        );
        return Ok(vec![(id, refuse(0, v1::RefusalReason::Protocol, &text))]);
    }
    let Ok(attach) = convert::id::<AttachId>("attach_id", &hello.attach_id) else {
        warn!(child = %id, "hello without a readable attach_id dropped");
        return Ok(Outbox::new());
    };
    let mut tx = context.store.write().await?;
    let Some(mut child) = tx.child(id).await? else {
        return Ok(vec![(
            id,
            refuse(0, v1::RefusalReason::UnknownChild, "not registered here"),
        )]);
    };
    let mut meta = tx.meta().await?;
    let repeated = child.attach == attach && child.session_epoch > 0;
    if !repeated {
        let said = hello
            .accepted
            .as_ref()
            .and_then(|a| convert::accepted_from_wire(a).ok());
        child.adopting = adopts(&mut meta, said);
        meta.session_epoch += 1;
        child.session_epoch = meta.session_epoch;
        child.attach = attach;
        child.boot_id.clone_from(&hello.boot_id);
        child.version.clone_from(&hello.version);
        if let Some(capacity) = &hello.capacity {
            child.capacity = convert::capacity_from_wire(capacity);
        }
        child.state = ChildState::Returning;
        child.last_heard = context.clock.wall();
        info!(child = %child.display(), session = child.session_epoch, adopting = child.adopting, "session opened");
        tx.stage(Write::PutMeta(meta));
        tx.stage(Write::PutChild(child.clone()));
        tx.commit().await?;
    }
    let parent = Parent::new(child.session_epoch, child.adopting);
    let welcome = parent.wrap(parent_message::Message::Welcome(v1::Welcome {
        protocol: PROTOCOL,
        features: Vec::new(),
        attach_id: hello.attach_id.clone(),
        lineage: meta.lineage.to_string(),
        issuer_epoch: meta.issuer_epoch,
        report_interval_ms: u32::try_from(context.times.report_interval.as_millis())
            .unwrap_or(u32::MAX),
        adopting: child.adopting,
    }));
    let known = state
        .sessions
        .get(&id)
        .is_some_and(|session| session.parent.epoch == child.session_epoch);
    if !known {
        state.sessions.insert(id, Session::new(parent));
    }
    Ok(vec![(id, welcome)])
}

/// Whether the child has accepted what this database does not know. Then the issuer epoch rises above it, so that what
/// this database sends counts as newer, and a full report is awaited before anything is sent.
fn adopts(meta: &mut Meta, said: Option<Accepted>) -> bool {
    let Some(said) = said else { return false };
    let other = said.lineage != meta.lineage;
    let ahead = (said.issuer_epoch, said.revision) > (meta.issuer_epoch, meta.revision);
    if !(other || ahead) {
        return false;
    }
    if said.issuer_epoch >= meta.issuer_epoch {
        meta.issuer_epoch = said.issuer_epoch + 1;
    }
    true
}
