//! What users want and what breaks, drawn from the seed.

use edgeio_domain::{
    ids::{AppUid, SpecHash},
    name::Name,
    records::{AppKey, Application, Owner, Service},
    time::Time,
};
use edgeio_link::spec;
use edgeio_proto::api::v1;
use edgeio_store::{ApplicationFilter, Store, StoreError, Write};
use rand::Rng;
use uuid::Uuid;

use super::queue::{Part, Queue, Way, What};

/// What a user asks the root for.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// Create or change: so many replicas of this version of the spec.
    Apply {
        name: usize,
        replicas: u32,
        version: u32,
    },
    Delete {
        name: usize,
    },
}

/// What breaks.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Crash(Part),
    /// The next commit of a tier breaks off: before it is durable, or after.
    Commit(Part, bool),
    Cut(Way),
    /// A worker loses power and network: its jobs end, it comes back alone.
    PowerCut(usize),
}

/// Draws a schedule: wishes and faults in the first part, then calm.
pub(super) fn draw(queue: &mut Queue, workers: usize, faults: bool, end: Time) {
    let span = end.0;
    for _ in 0..queue.rng.random_range(4..9) {
        let name = queue.rng.random_range(0..3);
        let wish = if queue.chance(20) {
            Wish::Delete { name }
        } else {
            Wish::Apply {
                name,
                replicas: queue.rng.random_range(0..5),
                version: queue.rng.random_range(0..3),
            }
        };
        queue.within(0..span, What::Wish(wish));
    }
    for _ in 0..queue.rng.random_range(0..4) {
        let number = queue.rng.random();
        let worker = queue.rng.random_range(0..workers);
        queue.within(0..span, What::JobEnds(worker, number));
    }
    if !faults {
        return;
    }
    for _ in 0..queue.rng.random_range(2..8) {
        let fault = fault(queue, workers);
        queue.within(0..span, What::Fault(fault));
    }
}

fn fault(queue: &mut Queue, workers: usize) -> Fault {
    let worker = queue.rng.random_range(0..workers);
    let part = [Part::Root, Part::Cluster, Part::Worker(worker)][queue.rng.random_range(0..3)];
    match queue.rng.random_range(0..10) {
        0..=3 => Fault::Crash(part),
        4..=5 => Fault::Commit(
            if queue.chance(50) {
                Part::Root
            } else {
                Part::Cluster
            },
            queue.chance(50),
        ),
        6..=7 => Fault::Cut(if queue.chance(40) {
            Way::Uplink
        } else {
            Way::Bus(worker)
        }),
        _ => Fault::PowerCut(worker),
    }
}

/// The spec of one version.
fn encoded(version: u32) -> (SpecHash, Vec<u8>) {
    spec::encode(&v1::ServiceSpec {
        name: "job".to_owned(),
        runtime: "fake".to_owned(),
        command: vec!["/bin/job".to_owned(), version.to_string()],
        resources: Some(v1::ResourceSpec {
            cpu: "100m".to_owned(),
            memory: "16Mi".to_owned(),
        }),
        ..Default::default()
    })
}

/// Name of an application.
pub(super) fn app_name(name: usize) -> Name {
    Name::from_any(&format!("app-{name}"))
}

/// Carries a wish out in the root's database. `None`: the application is being deleted, and the user is told so.
pub(super) async fn wish(
    store: &dyn Store,
    wish: &Wish,
    uid: Uuid,
    now: Time,
) -> Result<Option<u32>, StoreError> {
    let mut tx = store.write().await?;
    let name = match wish {
        Wish::Apply { name, .. } | Wish::Delete { name } => app_name(*name),
    };
    let filter = ApplicationFilter {
        name: Some(name.to_string()),
        ..Default::default()
    };
    let before = tx.applications(&filter).await?.into_iter().next();
    if before.as_ref().is_some_and(|app| app.deleted_at.is_some()) {
        return Ok(None);
    }
    let key = AppKey {
        owner: Owner::Root,
        namespace: Name::from_any("default"),
        name,
    };
    let mut app = before.unwrap_or_else(|| Application {
        key,
        uid: AppUid(uid),
        version: 0,
        services: Vec::new(),
        deleted_at: None,
        created_at: now,
        revision: 0,
    });
    app.version += 1;
    let wanted = match wish {
        Wish::Apply {
            replicas, version, ..
        } => {
            let (spec_hash, body) = encoded(*version);
            tx.stage(Write::PutSpec(spec_hash, body));
            app.services = vec![Service {
                name: Name::from_any("job"),
                replicas: *replicas,
                spec_hash,
            }];
            *replicas
        }
        Wish::Delete { .. } if app.version == 1 => return Ok(Some(0)),
        Wish::Delete { .. } => {
            app.deleted_at = Some(now);
            0
        }
    };
    tx.stage(Write::PutApplication(app));
    tx.commit().await?;
    Ok(Some(wanted))
}
