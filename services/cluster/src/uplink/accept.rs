//! Committing what the root sent: orders become slots, all of one message in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    ids::{AppUid, SlotId, SpecHash},
    name::Name,
    records::{AppKey, Application, Desired, Owner, Service, Slot, Upstream},
    resources::Resources,
};
use edgeio_link::{convert, holdings::Acceptance, spec};
use edgeio_proto::link::v1;
use edgeio_store::{ApplicationFilter, SlotFilter, StoreError, Write, WriteTx};
use edgeio_tier::context::Context;
use tracing::warn;

/// Commits an acceptance as a whole.
pub(super) async fn persist(context: &Context, acceptance: &Acceptance) -> Result<(), StoreError> {
    for (id, fault) in &acceptance.unread {
        warn!(id, error = %fault, "an order of a kind that this version does not know is left out");
    }
    let mut tx = context.store.write().await?;
    let now = context.clock.wall();
    let filter = SlotFilter {
        upstream: Some(true),
        ..Default::default()
    };
    let mut slots: BTreeMap<SlotId, Slot> = tx
        .slots(&filter)
        .await?
        .into_iter()
        .map(|s| (s.id, s))
        .collect();
    let mut changed: BTreeSet<SlotId> = BTreeSet::new();
    let demands: BTreeMap<SpecHash, Resources> = acceptance
        .specs
        .iter()
        .filter_map(|(hash, body)| Some((*hash, spec::decode(body).ok()?.resources)))
        .collect();
    for entry in &acceptance.take {
        let Ok(id) = convert::id::<SlotId>("id", &entry.id) else {
            continue;
        };
        let known = slots.get(&id).cloned();
        let fresh = match known {
            Some(slot) => Some(slot),
            None => make(context, entry, &demands, now),
        };
        let (Some(mut slot), Ok(desired)) = (fresh, convert::desired_from_wire(entry.desired))
        else {
            warn!(
                id = entry.id,
                "assignment that cannot be understood is left out"
            );
            continue;
        };
        // A root that lost its records knows the application under another uid than before.
        if let Ok(uid) = convert::id::<AppUid>("application_uid", &entry.application_uid) {
            slot.app_uid = uid;
        }
        slot.desired = desired;
        slot.restart_count = entry.restart_count;
        if desired == Desired::Stop {
            slot.pending.clear();
        }
        if let Some(upstream) = &mut slot.upstream {
            upstream.generation = entry.generation;
            upstream.orphan = false;
        }
        changed.insert(id);
        slots.insert(id, slot);
    }
    mark(&mut slots, &mut changed, acceptance);
    for (hash, body) in &acceptance.specs {
        tx.stage(Write::PutSpec(*hash, body.clone()));
    }
    name_applications(&mut *tx, &slots, &changed, now).await?;
    for id in changed {
        if let Some(slot) = slots.get(&id) {
            tx.stage(Write::PutSlot(slot.clone()));
        }
    }
    let mut meta = tx.meta().await?;
    meta.uplink.accepted = Some(acceptance.accepted);
    tx.stage(Write::PutMeta(meta));
    tx.commit().await?;
    Ok(())
}

/// Marks what a snapshot does not name, and what it names again.
fn mark(
    slots: &mut BTreeMap<SlotId, Slot>,
    changed: &mut BTreeSet<SlotId>,
    acceptance: &Acceptance,
) {
    let lost = acceptance.orphaned.iter().map(|id| (id, true));
    let found = acceptance.claimed.iter().map(|id| (id, false));
    for (id, orphan) in lost.chain(found) {
        let id = SlotId(id.0);
        if let Some(upstream) = slots.get_mut(&id).and_then(|slot| slot.upstream.as_mut()) {
            upstream.orphan = orphan;
            changed.insert(id);
        }
    }
}

/// A new slot for an order of the root; `None` when the order cannot be understood.
fn make(
    context: &Context,
    entry: &v1::Assignment,
    demands: &BTreeMap<SpecHash, Resources>,
    now: edgeio_domain::time::Time,
) -> Option<Slot> {
    let order = convert::order_from_wire(entry).ok()?;
    let recorded = entry
        .recorded
        .as_ref()
        .and_then(|r| convert::incarnation_from_wire(r).ok());
    let hold_until = if recorded.is_some() {
        now + context.times.adopt_window
    } else {
        now
    };
    Some(Slot {
        id: SlotId(order.id.0),
        app: AppKey {
            owner: Owner::Root,
            namespace: Name::new(&order.namespace).ok()?,
            name: Name::new(&order.application).ok()?,
        },
        app_uid: convert::id::<AppUid>("application_uid", &order.application_uid).ok()?,
        service: Name::new(&order.service).ok()?,
        ordinal: order.ordinal,
        desired: order.desired,
        restart_count: order.restart_count,
        spec_hash: order.spec_hash,
        demand: demands.get(&order.spec_hash).copied().unwrap_or_default(),
        upstream: Some(Upstream {
            slot: order.slot,
            generation: order.generation,
            recorded,
            hold_until,
            orphan: false,
            returned: None,
        }),
        refusals: Vec::new(),
        pending: Vec::new(),
        created_at: now,
        revision: 0,
    })
}

/// Stages the applications of the root as far as they live here, one of each name.
///
/// Two may have the same name: a root that lost its records, or gave an application up by force, lets the name be used
/// again while the old instances still run here. They stay what they are; the record is that of the newer one.
async fn name_applications(
    tx: &mut dyn WriteTx,
    slots: &BTreeMap<SlotId, Slot>,
    changed: &BTreeSet<SlotId>,
    now: edgeio_domain::time::Time,
) -> Result<(), StoreError> {
    let rank = |uid: AppUid| {
        let mut of = slots.values().filter(|slot| slot.app_uid == uid);
        let named = of.any(|slot| slot.upstream.as_ref().is_some_and(|up| !up.orphan));
        (named, uid)
    };
    let mut winners: BTreeMap<AppKey, Application> = BTreeMap::new();
    for application in applications(slots, changed, now) {
        let there = winners.get(&application.key);
        if there.is_none_or(|there| rank(there.uid) < rank(application.uid)) {
            winners.insert(application.key.clone(), application);
        }
    }
    for (key, application) in winners {
        let filter = ApplicationFilter {
            namespace: Some(key.namespace.to_string()),
            name: Some(key.name.to_string()),
            owner: Some(key.owner),
            ..Default::default()
        };
        let recorded = tx.applications(&filter).await?;
        let other = recorded.iter().find(|there| there.uid != application.uid);
        match other.map(|there| there.uid) {
            Some(uid) if rank(uid) > rank(application.uid) => continue,
            Some(uid) => tx.stage(Write::DeleteApplication(uid)),
            None => {}
        }
        tx.stage(Write::PutApplication(application));
    }
    Ok(())
}

/// The applications that the changed slots belong to.
fn applications(
    slots: &BTreeMap<SlotId, Slot>,
    changed: &BTreeSet<SlotId>,
    now: edgeio_domain::time::Time,
) -> Vec<Application> {
    let uids: BTreeSet<AppUid> = changed
        .iter()
        .filter_map(|id| slots.get(id))
        .map(|s| s.app_uid)
        .collect();
    let of = |uid: AppUid| {
        let mut here = slots.values().filter(move |s| s.app_uid == uid);
        let first = here.next()?;
        let mut services: Vec<Service> = Vec::new();
        for slot in slots
            .values()
            .filter(|s| s.app_uid == uid && s.desired != Desired::Stop)
        {
            match services
                .iter_mut()
                .find(|service| service.name == slot.service)
            {
                Some(service) => service.replicas += 1,
                None => {
                    services.push(Service {
                        name: slot.service.clone(),
                        replicas: 1,
                        spec_hash: slot.spec_hash,
                    });
                }
            }
        }
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let deleted_at = services.is_empty().then_some(now);
        let key = first.app.clone();
        Some(Application {
            key,
            uid,
            version: 0,
            services,
            deleted_at,
            created_at: first.created_at,
            revision: 0,
        })
    };
    uids.into_iter().filter_map(of).collect()
}
