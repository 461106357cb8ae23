//! What is in a database and in a ledger, in words that stay the same from version to version.

use std::path::Path;

use anyhow::Result;
use edgeio_store::{ApplicationFilter, AssignmentFilter, SlotFilter, Store};
use edgeio_worker::ledger::{FileLedger, Ledger as _};
use serde_json::{Value, json};

/// Every record of a database.
pub(crate) async fn database(store: &dyn Store) -> Result<Value> {
    let tx = store.read().await?;
    let meta = tx.meta().await?;
    let applications = tx.applications(&ApplicationFilter::default()).await?;
    let slots = tx.slots(&SlotFilter::default()).await?;
    let assignments = tx.assignments(&AssignmentFilter::default()).await?;
    let children = tx.children().await?;
    let mut specs = Vec::new();
    for slot in &slots {
        for (hash, body) in tx.specs(&[slot.spec_hash]).await? {
            specs.push(json!([hash.to_string(), body.len()]));
        }
    }
    Ok(json!({
        "lineage": meta.lineage.to_string(),
        "issuer_epoch": meta.issuer_epoch,
        "session_epoch": meta.session_epoch,
        "revision": meta.revision,
        "accepted": meta.uplink.accepted.map(|a| (a.lineage.to_string(), a.issuer_epoch, a.revision)),
        "applications": applications.iter().map(|a| json!({
            "key": format!("{:?}", a.key),
            "uid": a.uid.to_string(),
        })).collect::<Vec<_>>(),
        "slots": slots.iter().map(|s| json!({
            "id": s.id.to_string(),
            "app": format!("{:?}", s.app),
            "uid": s.app_uid.to_string(),
            "service": s.service.to_string(),
            "ordinal": s.ordinal,
            "desired": format!("{:?}", s.desired),
            "restart_count": s.restart_count,
            "spec_hash": s.spec_hash.to_string(),
            "cpu_millis": s.demand.cpu_millis,
            "upstream": s.upstream.as_ref().map(|u| (u.slot.to_string(), u.generation, u.orphan)),
        })).collect::<Vec<_>>(),
        "assignments": assignments.iter().map(|a| json!({
            "id": a.id.to_string(),
            "slot": a.slot.to_string(),
            "child": a.child.to_string(),
            "generation": a.generation,
            "desired": format!("{:?}", a.desired),
            "phase": format!("{:?}", a.observed.phase),
            "handle": a.observed.handle,
            "running_since": a.observed.running_since.map(|t| t.0),
            "incarnation": a.observed.incarnation.as_ref().map(|i| (i.instance.to_string(), i.worker.to_string())),
            "order_revision": a.order_revision,
            "revision": a.revision,
        })).collect::<Vec<_>>(),
        "children": children.iter().map(|c| json!({
            "id": c.id.to_string(),
            "name": c.display(),
            "key": c.public_key,
            "session_epoch": c.session_epoch,
            "attach": c.attach.to_string(),
            "state": format!("{:?}", c.state),
            "workers": c.capacity.workers,
        })).collect::<Vec<_>>(),
        "specs": specs,
    }))
}

/// Everything in a worker's ledger.
pub(crate) fn ledger(dir: &Path) -> Result<Value> {
    let snapshot = FileLedger::open(dir)?.load()?;
    Ok(json!({
        "accepted": snapshot.accepted.map(|a| (a.lineage.to_string(), a.issuer_epoch, a.revision)),
        "entries": snapshot.entries.values().map(|e| json!({
            "id": e.order.id.to_string(),
            "slot": e.order.slot.to_string(),
            "generation": e.order.generation,
            "desired": format!("{:?}", e.order.desired),
            "restart_count": e.order.restart_count,
            "spec_hash": e.order.spec_hash.to_string(),
            "application": [&e.order.namespace, &e.order.application, &e.order.application_uid],
            "service": e.order.service,
            "ordinal": e.order.ordinal,
            "phase": format!("{:?}", e.status.phase),
            "handle": e.status.handle,
            "running_since": e.status.running_since.map(|t| t.0),
            "touched": e.status.touched,
            "orphan": e.status.orphan,
        })).collect::<Vec<_>>(),
        "specs": snapshot.specs.iter().map(|(hash, body)| json!([hash.to_string(), body.len()])).collect::<Vec<_>>(),
        "tombstones": snapshot.tombstones.iter().map(|(id, at)| (id.to_string(), at.0)).collect::<Vec<_>>(),
    }))
}
