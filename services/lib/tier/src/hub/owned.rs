//! What a cluster tells its root of the applications that it owns itself.
//!
//! They are recorded as mirrors: an application whose owner is the cluster, and a row for each of its instances that holds
//! and orders nothing ([`Assignment::is_mirror`]). The engine does not see them. Only the cluster that owns them can tell of
//! them, and what it does not name in a full report is not there.

use std::collections::BTreeSet;

use edgeio_domain::{
    ids::{AppUid, AssignmentId, ChildId, SlotId, SpecHash},
    lifecycle::Phase,
    name::Name,
    records::{AppKey, Application, Assignment, Desired, Observed, Owner, Service},
    resources::Resources,
    time::Time,
};
use edgeio_link::{convert, convert::WireError};
use edgeio_proto::link::v1;
use edgeio_store::{ApplicationFilter, AssignmentFilter, ReadTx, StoreError, Write};
use tracing::info;

use super::{session::Session, work::Work};

/// Most specs that are asked for at once: with 48 KiB each they are under a megabyte.
const MOST_SPECS: usize = 16;
/// How long specs that were asked for may be missing before they are asked for again. A child of an older version never
/// answers, so this is no short time.
const SPECS_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Who owns what an entry is about, as far as it says; a child of an older version says nothing, which means the root.
///
/// # Errors
/// It cannot be read.
pub(super) fn owner(entry: &v1::InstanceReport) -> Result<Owner, WireError> {
    if entry.owner.is_empty() {
        return Ok(Owner::Root);
    }
    convert::id::<ChildId>("owner", &entry.owner).map(Owner::Cluster)
}

/// Records the state of an instance that its child owns.
pub(super) fn instance(
    work: &mut Work,
    child: ChildId,
    id: AssignmentId,
    entry: &v1::InstanceReport,
    observed: Observed,
    now: Time,
) {
    let known = work.assignment(id);
    if known.is_some_and(|known| !known.is_mirror() || known.child != child) {
        edgeio_server::warn_seldom!(%child, instance = %id, "report about an instance of another owner dropped");
        work.foreign(child, format!("instance/{id}"));
        return;
    }
    if observed.phase == Phase::Stopped {
        return work.delete(id);
    }
    let created_at = known.map_or(now, |known| known.created_at);
    let row = || {
        let name = |field, text: &str| Name::new(text).map_err(|_| field);
        Ok::<Assignment, &'static str>(Assignment {
            id,
            slot: SlotId(id.0),
            app: AppKey {
                owner: Owner::Cluster(child),
                namespace: name("namespace", &entry.namespace)?,
                name: name("application", &entry.application)?,
            },
            app_uid: entry
                .application_uid
                .parse()
                .map_err(|_| "application_uid")?,
            service: name("service", &entry.service)?,
            ordinal: entry.ordinal,
            child,
            generation: observed.generation,
            desired: Desired::Hold,
            restart_count: observed.restart_count,
            spec_hash: SpecHash::from_slice(&entry.spec_hash).ok_or("spec_hash")?,
            demand: Resources::default(),
            observed,
            created_at,
            order_revision: 0,
            revision: 0,
        })
    };
    match row() {
        Ok(row) => work.put(row, false),
        Err(field) => {
            edgeio_server::warn_seldom!(%child, instance = %id, field, "entry that cannot be understood is held back");
        }
    }
}

/// Records the applications of a report, and those that are not in it any more once all parts are there.
pub(super) fn applications(
    work: &mut Work,
    session: &mut Session,
    child: ChildId,
    report: &v1::Report,
    now: Time,
) {
    let mut told = BTreeSet::new();
    for entry in &report.applications {
        let Ok(uid) = convert::id::<AppUid>("uid", &entry.uid) else {
            edgeio_server::warn_seldom!(%child, uid = entry.uid, "application without a readable uid is held back");
            continue;
        };
        if entry.gone {
            work.lose_application(child, uid);
            continue;
        }
        told.insert(uid);
        let before = work.application(uid);
        if before.is_some_and(|before| before.key.owner != Owner::Cluster(child)) {
            edgeio_server::warn_seldom!(%child, application = entry.name, "report about an application of another owner dropped");
            work.foreign(child, format!("application/{}", entry.name));
            continue;
        }
        match application(child, uid, entry, before, now) {
            Ok(application) => {
                if before.is_none() {
                    info!(application = entry.name, namespace = entry.namespace, %child, "the child tells of an application of its own");
                }
                work.put_application(application);
            }
            Err(field) => {
                edgeio_server::warn_seldom!(%child, application = entry.name, field, "application that cannot be understood is held back");
            }
        }
    }
    if report.applications_full {
        let first = report
            .seq
            .saturating_sub(u64::from(report.applications_chunk));
        let part = (report.applications_chunk, report.applications_chunks);
        if let Some(parts) = session.applications.add(first, part.0, part.1, told) {
            let told: BTreeSet<AppUid> = parts.into_iter().flatten().collect();
            work.keep_applications(child, &told);
        }
    }
    if report.applications_full || !report.applications.is_empty() {
        session.missing = None;
    }
}

fn application(
    child: ChildId,
    uid: AppUid,
    entry: &v1::OwnedApplication,
    before: Option<&Application>,
    now: Time,
) -> Result<Application, &'static str> {
    let name = |field, text: &str| Name::new(text).map_err(|_| field);
    let service = |service: &v1::OwnedService| {
        Ok(Service {
            name: name("services.name", &service.name)?,
            replicas: service.replicas,
            spec_hash: SpecHash::from_slice(&service.spec_hash).ok_or("services.spec_hash")?,
        })
    };
    let services: Result<Vec<Service>, &'static str> = entry.services.iter().map(service).collect();
    Ok(Application {
        key: AppKey {
            owner: Owner::Cluster(child),
            namespace: name("namespace", &entry.namespace)?,
            name: name("name", &entry.name)?,
        },
        uid,
        version: entry.version,
        services: services?,
        deleted_at: entry
            .deleting
            .then(|| before.and_then(|before| before.deleted_at).unwrap_or(now)),
        // The age is cut on its way: the first one that was told stays.
        created_at: before.map_or(
            Time(now.0.saturating_sub_unsigned(entry.age_ms)),
            |before| before.created_at,
        ),
        revision: before.map_or(0, |before| before.revision),
    })
}

/// Keeps bodies of specs that were asked for.
pub(super) fn specs(work: &mut Work, session: &mut Session, report: &v1::Report) {
    for spec in &report.specs {
        let hash = SpecHash::of(&spec.body);
        let asked = session.asked_specs.contains(&hash);
        if asked && spec.hash == hash.0 {
            session.asked_specs.remove(&hash);
            if let Some(missing) = &mut session.missing {
                missing.remove(&hash);
            }
            work.write(Write::PutSpec(hash, spec.body.clone()));
        }
    }
}

/// The specs that something of this child has and the database has not: of its applications, and of what is held there.
pub(super) async fn missing_specs(
    tx: &dyn ReadTx,
    child: ChildId,
) -> Result<BTreeSet<SpecHash>, StoreError> {
    let owner = Some(Owner::Cluster(child));
    let applications = tx
        .applications(&ApplicationFilter {
            owner,
            ..Default::default()
        })
        .await?;
    let rows = tx
        .assignments(&AssignmentFilter {
            child: Some(child),
            ..Default::default()
        })
        .await?;
    let services = applications.iter().flat_map(|app| &app.services);
    let held = rows
        .iter()
        .filter(|row| row.desired == Desired::Hold && !row.is_mirror());
    let mut hashes: BTreeSet<SpecHash> = services
        .map(|service| service.spec_hash)
        .chain(held.map(|row| row.spec_hash))
        .collect();
    if !hashes.is_empty() {
        let all: Vec<SpecHash> = hashes.iter().copied().collect();
        for (known, _) in tx.specs(&all).await? {
            hashes.remove(&known);
        }
    }
    Ok(hashes)
}

/// Which of the missing specs to ask for now.
pub(super) fn ask(session: &mut Session, now: Time) -> Vec<SpecHash> {
    let Some(missing) = &session.missing else {
        return Vec::new();
    };
    let due = session
        .specs_asked_at
        .is_none_or(|at| now.since(at) >= SPECS_AGAIN);
    // What was never asked for is asked for at once.
    let fresh = |hash: &&SpecHash| due || !session.asked_specs.contains(hash);
    let ask: Vec<SpecHash> = missing
        .iter()
        .filter(fresh)
        .take(MOST_SPECS)
        .copied()
        .collect();
    if !ask.is_empty() {
        session.specs_asked_at = Some(now);
        session.asked_specs.extend(ask.iter().copied());
    }
    ask
}
