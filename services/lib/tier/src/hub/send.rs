//! Sending orders: as answers to reports, and when orders change.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    child::Accepted,
    digest,
    ids::ChildId,
    records::{Assignment, Desired, Owner},
    time::Time,
};
use edgeio_link::{
    convert,
    parent::{Facts, Send},
};
use edgeio_proto::link::v1;
use edgeio_store::{ApplicationFilter, AssignmentFilter, Meta, ReadTx, StoreError};

use super::{Outbox, State, owned, point_of};
use crate::context::Context;

/// Answers a report that was recorded, when this was the newest order for the child.
pub(super) async fn answer(
    context: &Context,
    state: &mut State,
    id: ChildId,
    report: &v1::Report,
    point: &Accepted,
    newest_order: Option<u64>,
) -> Result<Outbox, StoreError> {
    let now = context.clock.boot();
    let Some(session) = state.sessions.get_mut(&id) else {
        return Ok(Outbox::new());
    };
    let mut outbox = vec![(id, session.parent.ack(newest_order))];
    // What another child knew may have raised the issuer epoch since, here or at another replica.
    let current = |facts: &Facts| facts.point.issuer_epoch == point.issuer_epoch;
    let facts = match session.facts.filter(current) {
        Some(facts) => facts,
        None => {
            let tx = context.store.read().await?;
            let facts = facts(&*tx, context.own, id).await?;
            session.facts = Some(facts);
            facts
        }
    };
    if session.missing.is_none() {
        let tx = context.store.read().await?;
        session.missing = Some(owned::missing_specs(&*tx, id).await?);
    }
    let spec_hashes = owned::ask(session, now);
    if !spec_hashes.is_empty() {
        let spec_hashes = spec_hashes.iter().map(|hash| hash.0.to_vec()).collect();
        let request = v1::ReportRequest {
            spec_hashes,
            ..Default::default()
        };
        outbox.push((id, session.parent.ask_for(request)));
    }
    match session.parent.answer(report, &facts, now) {
        None => {}
        Some(Send::AskFull) => outbox.push((id, session.parent.request(true))),
        Some(Send::AskApplications) => {
            let request = v1::ReportRequest {
                applications: true,
                ..Default::default()
            };
            outbox.push((id, session.parent.ask_for(request)));
        }
        Some(send) => outbox.extend(entries(context, state, id, send).await?),
    }
    Ok(outbox)
}

/// Sends orders that are newer than what was looked at before.
pub(super) async fn push(context: &Context, state: &mut State) -> Result<Outbox, StoreError> {
    let (point, changed): (Accepted, BTreeMap<ChildId, u64>) = {
        let tx = context.store.read().await?;
        let meta = tx.meta().await?;
        let filter = AssignmentFilter {
            ordered_after: Some(state.pushed),
            ..Default::default()
        };
        let mut newest = BTreeMap::new();
        for assignment in tx.assignments(&filter).await? {
            let entry = newest.entry(assignment.child).or_insert(0);
            *entry = assignment.order_revision.max(*entry);
        }
        state.pushed = meta.revision;
        (point_of(&meta), newest)
    };
    let mut outbox = Outbox::new();
    for (id, newest) in changed {
        let Some(session) = state.sessions.get_mut(&id) else {
            continue;
        };
        session.facts = None;
        let applied = session.applied_of(&point);
        if applied == 0 && !session.parent.has_sent() {
            // Its first report is on the way and will be answered with everything.
            continue;
        }
        if let Some(send) = session.parent.push(applied, newest) {
            outbox.extend(entries(context, state, id, send).await?);
        }
    }
    Ok(outbox)
}

/// Asks children about orders that they have not answered.
pub(super) fn nudge(state: &mut State, meta: &Meta, now: Time) -> Outbox {
    let point = point_of(meta);
    let asks = state.sessions.iter_mut().filter_map(|(id, session)| {
        let applied = session.applied_of(&point);
        session
            .parent
            .nudge(applied, now)
            .then(|| (*id, session.parent.request(false)))
    });
    asks.collect()
}

/// Reads and renders orders.
async fn entries(
    context: &Context,
    state: &mut State,
    id: ChildId,
    send: Send,
) -> Result<Outbox, StoreError> {
    let tx = context.store.read().await?;
    let meta = tx.meta().await?;
    let after = if let Send::Delta { from } = send {
        Some(from)
    } else {
        None
    };
    let filter = AssignmentFilter {
        child: Some(id),
        ordered_after: after,
        ..Default::default()
    };
    let rows: Vec<Assignment> = tx
        .assignments(&filter)
        .await?
        .into_iter()
        .filter(|a| a.desired != Desired::Hold)
        .collect();
    let running = rows.iter().filter(|a| a.desired != Desired::Stop);
    let hashes: BTreeSet<_> = running.map(|a| a.spec_hash).collect();
    let hashes: Vec<_> = hashes.into_iter().collect();
    let specs = tx.specs(&hashes).await?;
    let specs = specs
        .into_iter()
        .map(|(hash, body)| v1::Spec {
            hash: hash.0.to_vec(),
            body,
        })
        .collect();
    let entries = rows.iter().map(render).collect();
    let point = point_of(&meta);
    let now = context.clock.boot();
    let Some(session) = state.sessions.get_mut(&id) else {
        return Ok(Outbox::new());
    };
    let messages = session.parent.entries(send, point, entries, specs, now);
    Ok(messages.into_iter().map(|message| (id, message)).collect())
}

fn render(a: &Assignment) -> v1::Assignment {
    v1::Assignment {
        id: a.id.to_string(),
        slot_id: a.slot.to_string(),
        generation: a.generation,
        desired: convert::desired_to_wire(a.desired).into(),
        restart_count: a.restart_count,
        spec_hash: a.spec_hash.0.to_vec(),
        image_digest: a.observed.image_digest.clone(),
        namespace: a.app.namespace.to_string(),
        application: a.app.name.to_string(),
        application_uid: a.app_uid.to_string(),
        service: a.service.to_string(),
        ordinal: a.ordinal,
        recorded: a
            .observed
            .incarnation
            .as_ref()
            .map(convert::incarnation_to_wire),
        owner: match a.app.owner {
            Owner::Root => String::new(),
            Owner::Cluster(id) => id.to_string(),
        },
    }
}

/// What the database says about a child.
async fn facts(tx: &dyn ReadTx, own: Owner, id: ChildId) -> Result<Facts, StoreError> {
    let meta = tx.meta().await?;
    let rows = tx
        .assignments(&AssignmentFilter {
            child: Some(id),
            ..Default::default()
        })
        .await?;
    let held = rows.iter().filter(|a| a.desired != Desired::Stop);
    // A worker owns no application.
    let applications = if own == Owner::Root {
        let owner = Some(Owner::Cluster(id));
        let filter = ApplicationFilter {
            owner,
            ..Default::default()
        };
        tx.applications(&filter).await?
    } else {
        Vec::new()
    };
    Ok(Facts {
        point: point_of(&meta),
        newest_order: rows.iter().map(|a| a.order_revision).max().unwrap_or(0),
        assignments: digest::assignments(
            rows.iter()
                .map(|a| (a.id, a.generation, a.desired, a.restart_count)),
        ),
        states: digest::states(held.map(|a| (a.id, a.observed.phase, a.observed.restarts))),
        applications: digest::applications(&applications),
    })
}
