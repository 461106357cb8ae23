//! From an image's layers to snapshots, one on the other.

use std::{collections::HashMap, time::SystemTime};

use containerd_client::{
    services::v1::{
        ApplyRequest, CreateRequest, DeleteRequest, Info, UpdateRequest,
        snapshots::{
            CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
            StatSnapshotRequest,
        },
    },
    tonic::{Code, Status, metadata::MetadataValue},
    types::Descriptor,
};
use prost_types::FieldMask;
use uuid::Uuid;

use super::{
    engine::{Engine, Lease, SNAPSHOTTER, call},
    image::Layer,
};

/// How long a lease of ours lives when nobody is left to end it, in hours: longer than any pull.
const LEASE_HOURS: i64 = 24;

/// Begins a lease.
pub(super) async fn lease(engine: &Engine) -> Result<Lease, Status> {
    let id = format!("edgeio-{}", Uuid::new_v4());
    let ends = chrono::DateTime::<chrono::Utc>::from(SystemTime::now())
        + chrono::TimeDelta::hours(LEASE_HOURS);
    let labels = HashMap::from([(
        "containerd.io/gc.expire".to_owned(),
        ends.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    )]);
    let request = CreateRequest {
        id: id.clone(),
        labels,
    };
    engine.leases().create(call(request)).await?;
    let value = MetadataValue::try_from(id.as_str());
    value
        .map(Lease)
        .map_err(|e| Status::internal(e.to_string()))
}

/// Ends a lease; what nothing else refers to may be collected.
pub(super) async fn release(engine: &Engine, lease: &Lease) {
    let request = DeleteRequest {
        id: lease.0.to_str().unwrap_or_default().to_owned(),
        sync: false,
    };
    if let Err(status) = engine.leases().delete(call(request)).await {
        // It ends by itself within a day.
        tracing::debug!(%status, "a lease is left to expire");
    }
}

/// Makes the snapshots that are missing. The last one's name.
pub(super) async fn layers(
    engine: &Engine,
    config: &Descriptor,
    layers: &[Layer],
) -> Result<String, Status> {
    let top = layers.last().map(|l| l.chain.clone()).unwrap_or_default();
    if has(engine, &top).await? {
        return Ok(top);
    }
    let lease = lease(engine).await?;
    let mut parent = String::new();
    let mut made = Ok(());
    for layer in layers {
        made = apply(engine, &lease, layer, &parent).await;
        if made.is_err() {
            break;
        }
        parent.clone_from(&layer.chain);
    }
    if made.is_ok() {
        // The configuration keeps the snapshot, the image the configuration.
        let label = format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}");
        made = refer(
            engine,
            &config.digest,
            HashMap::from([(label, top.clone())]),
        )
        .await;
    }
    release(engine, &lease).await;
    made.map(|()| top)
}

/// Writes references for the garbage collector on a blob.
pub(super) async fn refer(
    engine: &Engine,
    digest: &str,
    labels: HashMap<String, String>,
) -> Result<(), Status> {
    let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
    let request = UpdateRequest {
        info: Some(Info {
            digest: digest.to_owned(),
            labels,
            ..Info::default()
        }),
        update_mask: Some(FieldMask { paths }),
    };
    engine.content().update(call(request)).await.map(|_| ())
}

async fn has(engine: &Engine, chain: &str) -> Result<bool, Status> {
    let request = StatSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: chain.to_owned(),
    };
    match engine.snapshots().stat(call(request)).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::NotFound => Ok(false),
        Err(status) => Err(status),
    }
}

/// One layer onto those below. Two at once for one layer are one: the second finds it made.
async fn apply(engine: &Engine, lease: &Lease, layer: &Layer, parent: &str) -> Result<(), Status> {
    if has(engine, &layer.chain).await? {
        return Ok(());
    }
    let key = format!("edgeio-extract-{}", Uuid::new_v4());
    let request = PrepareSnapshotRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        key: key.clone(),
        parent: parent.to_owned(),
        labels: HashMap::new(),
    };
    let mounts = engine
        .snapshots()
        .prepare(lease.call(request))
        .await?
        .into_inner()
        .mounts;
    let filled = fill(engine, lease, layer, mounts).await;
    let committed = match filled {
        Err(status) => Err(status),
        Ok(()) => {
            let request = CommitSnapshotRequest {
                snapshotter: SNAPSHOTTER.to_owned(),
                name: layer.chain.clone(),
                key: key.clone(),
                labels: HashMap::new(),
            };
            engine
                .snapshots()
                .commit(lease.call(request))
                .await
                .map(|_| ())
        }
    };
    match committed {
        Ok(()) => Ok(()),
        Err(status) => {
            let request = RemoveSnapshotRequest {
                snapshotter: SNAPSHOTTER.to_owned(),
                key,
            };
            if let Err(left) = engine.snapshots().remove(call(request)).await {
                tracing::debug!(status = %left, "half a layer is left to the garbage collector");
            }
            if status.code() == Code::AlreadyExists {
                Ok(())
            } else {
                Err(status)
            }
        }
    }
}

async fn fill(
    engine: &Engine,
    lease: &Lease,
    layer: &Layer,
    mounts: Vec<containerd_client::types::Mount>,
) -> Result<(), Status> {
    let request = ApplyRequest {
        diff: Some(layer.blob.clone()),
        mounts,
        ..ApplyRequest::default()
    };
    let applied = engine
        .diff()
        .apply(lease.call(request))
        .await?
        .into_inner()
        .applied;
    let got = applied.map(|a| a.digest).unwrap_or_default();
    if got == layer.diff_id {
        Ok(())
    } else {
        let what = format!(
            "layer {} holds {got}, not {}",
            layer.blob.digest, layer.diff_id
        );
        Err(Status::invalid_argument(what))
    }
}
