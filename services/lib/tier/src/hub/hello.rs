//! Opening a session: its number is minted in the database, one per attempt of the child.

use edgeio_domain::{
    child::{ChildState, Replace},
    ids::{AttachId, ChildId},
};
use edgeio_link::{convert, parent::Parent, verdict, version::Offer};
use edgeio_proto::link::v1::{self, parent_message};
use edgeio_store::{StoreError, Write};
use tracing::info;

use super::{Outbox, State, point_of, record::capacity, refuse, session::Session};
use crate::context::Context;

pub(super) async fn open(
    context: &Context,
    state: &mut State,
    id: ChildId,
    hello: &v1::Hello,
) -> Result<Outbox, StoreError> {
    let agreed = match Offer::OWN.pick(hello) {
        Ok(agreed) => agreed,
        Err(nothing) => {
            let text = nothing.to_string();
            return Ok(vec![(id, refuse(0, v1::RefusalReason::Protocol, &text))]);
        }
    };
    let Ok(attach) = convert::id::<AttachId>("attach_id", &hello.attach_id) else {
        edgeio_server::warn_seldom!(child = %id, "hello without a readable attach_id dropped");
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
    state.ears.knock(id, child.silence, context.clock.boot());
    let point = point_of(&meta);
    let said = hello
        .accepted
        .as_ref()
        .and_then(|a| convert::accepted_from_wire(a).ok());
    let older = said.is_some_and(|said| verdict::is_ahead(&point, &said));
    let repeated = child.attach == attach && child.session_epoch > 0 && !older;
    if !repeated {
        let risen = said.and_then(|said| verdict::adopt(&point, &said));
        // Behind a fence others may run what it runs: nothing is sent before all of it is known.
        child.adopting = risen.is_some() || child.replace == Replace::Fenced;
        meta.issuer_epoch = risen.unwrap_or(meta.issuer_epoch);
        // The time is in the number, so that a database that lost its newest sessions hands none of their numbers out
        // again: a late report must not look like one of the new session.
        let time = u64::try_from(context.clock.wall().0).unwrap_or(0);
        meta.session_epoch = time.max(meta.session_epoch + 1);
        child.session_epoch = meta.session_epoch;
        child.attach = attach;
        child.boot_id.clone_from(&hello.boot_id);
        child.version.clone_from(&hello.version);
        child.features = Some(agreed.features.clone());
        if let Some(offered) = &hello.capacity {
            child.capacity = capacity(offered, said.as_ref(), &point_of(&meta));
        }
        if child.state != ChildState::Left {
            child.state = ChildState::Returning;
        }
        child.last_heard = context.clock.wall();
        child.holder = Some(context.replica);
        info!(child = %child.display(), session = child.session_epoch, adopting = child.adopting, "session opened");
        tx.stage(Write::PutMeta(meta));
        tx.stage(Write::PutChild(child.clone()));
        tx.commit().await?;
    } else if child.holder != Some(context.replica)
        || child.features.as_ref() != Some(&agreed.features)
    {
        child.holder = Some(context.replica);
        child.features = Some(agreed.features.clone());
        tx.stage(Write::PutChild(child.clone()));
        tx.commit().await?;
    }
    let parent = Parent::new(child.session_epoch, child.adopting);
    let welcome = parent.wrap(parent_message::Message::Welcome(v1::Welcome {
        protocol: agreed.protocol,
        features: agreed.features.iter().cloned().collect(),
        attach_id: hello.attach_id.clone(),
        lineage: meta.lineage.to_string(),
        issuer_epoch: meta.issuer_epoch,
        report_interval_ms: u32::try_from(context.times.report_interval.as_millis())
            .unwrap_or(u32::MAX),
        adopting: child.adopting,
    }));
    let known = state
        .sessions
        .get_mut(&id)
        .filter(|session| session.parent.epoch == child.session_epoch);
    match known {
        Some(session) => session.agreed = agreed,
        None => {
            state.sessions.insert(id, Session::new(parent, agreed));
        }
    }
    Ok(vec![(id, welcome)])
}
