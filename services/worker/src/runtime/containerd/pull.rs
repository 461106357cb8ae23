//! Fetching an image from its registry into the engine's store, with progress in bytes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use containerd_client::{
    services::v1::{
        CreateImageRequest, Image, InfoRequest, UpdateImageRequest, WriteAction,
        WriteContentRequest,
    },
    tonic::{Code, Status},
    types::Descriptor,
};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::{self, OciManifest},
    secrets::RegistryAuth,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    engine::{Engine, Lease, call},
    errors::{is_unreachable, pull_class, unreachable},
    image, unpack,
};
use crate::runtime::{BoxError, ErrorClass, Progress, RuntimeError, Step, registries::Credential};

/// The least time between two reports of progress: smooth for the eye, and few messages for a slow link.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// How many layers of one image are fetched at a time: enough to fill a link, few enough for a gateway's memory.
const AT_A_TIME: usize = 2;
/// How long a registry may be silent in the middle of a layer.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// How long a registry may take to be reached.
const REACHED_WITHIN: Duration = Duration::from_secs(20);

/// What a manifest may be.
const MANIFESTS: [&str; 4] = [
    manifest::OCI_IMAGE_INDEX_MEDIA_TYPE,
    manifest::OCI_IMAGE_MEDIA_TYPE,
    manifest::IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    manifest::IMAGE_MANIFEST_MEDIA_TYPE,
];

/// Why a pull failed, before it is told.
enum Trouble {
    Registry(OciDistributionError),
    Engine(Status),
    Image(String),
}

impl From<OciDistributionError> for Trouble {
    fn from(error: OciDistributionError) -> Self {
        Self::Registry(error)
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::Engine(status)
    }
}

impl Trouble {
    fn told(self, socket: &str, image: &Reference) -> RuntimeError {
        let (class, source): (_, BoxError) = match self {
            Self::Engine(status) if is_unreachable(&status) => return unreachable(socket, status),
            Self::Engine(status) => (ErrorClass::Retry, status.message().to_owned().into()),
            Self::Registry(error) => (pull_class(&error), error.into()),
            Self::Image(why) => (ErrorClass::Permanent, why.into()),
        };
        RuntimeError::Pull {
            image: image.whole(),
            class,
            source,
        }
    }
}

/// A registry client for one image. Registries on this machine are spoken to without TLS, as all engines do.
fn client(image: &Reference) -> Client {
    // The library's HTTP client panics without one; another part of the program may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let host = image.resolve_registry();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let near = name == "localhost" || name.starts_with("127.") || name == "[::1]";
    Client::new(ClientConfig {
        protocol: if near {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        read_timeout: Some(SILENT_FOR),
        connect_timeout: Some(REACHED_WITHIN),
        ..ClientConfig::default()
    })
}

/// Bytes so far and in all.
struct Bytes<'a> {
    state: Mutex<(u64, u64, Instant)>,
    progress: &'a dyn Progress,
}

impl<'a> Bytes<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        progress.step(Step::Pulling {
            current: 0,
            total: 0,
        });
        Self {
            state: Mutex::new((0, 0, Instant::now())),
            progress,
        }
    }

    fn add(&self, current: u64, total: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.0, state.1) = (state.0 + current, state.1 + total);
        if state.2.elapsed() >= REPORT_EVERY || state.0 >= state.1 {
            state.2 = Instant::now();
            let (current, total) = (state.0, state.1);
            self.progress.step(Step::Pulling { current, total });
        }
    }
}

/// Fetches an image and gives it its name in the store.
pub(super) async fn pull(
    engine: &Engine,
    image: &Reference,
    who: Option<Credential>,
    progress: &dyn Progress,
) -> Result<(), RuntimeError> {
    let socket = engine.socket.display().to_string();
    let lease = match unpack::lease(engine).await {
        Ok(lease) => lease,
        Err(status) => return Err(Trouble::from(status).told(&socket, image)),
    };
    let auth = who.map_or(RegistryAuth::Anonymous, |who| {
        RegistryAuth::Basic(who.user, who.password)
    });
    let fetched = fetch(engine, &lease, image, &auth, &Bytes::new(progress)).await;
    unpack::release(engine, &lease).await;
    fetched.map_err(|trouble| trouble.told(&socket, image))
}

async fn fetch(
    engine: &Engine,
    lease: &Lease,
    image: &Reference,
    auth: &RegistryAuth,
    bytes: &Bytes<'_>,
) -> Result<(), Trouble> {
    let registry = client(image);
    let (target, raw) = manifest_of(&registry, image, auth).await?;
    let (mut own, mut raw_own) = (target.clone(), raw.clone());
    let mut parsed = parse(&raw)?;
    if matches!(parsed, OciManifest::ImageIndex(_)) {
        own = image::of_platform(&parsed).ok_or_else(|| {
            let arch = std::env::consts::ARCH;
            Trouble::Image(format!(
                "the registry has it for other machines than linux on {arch} only"
            ))
        })?;
        let at = image.clone_with_digest(own.digest.clone());
        (own, raw_own) = manifest_of(&registry, &at, auth).await?;
        parsed = parse(&raw_own)?;
    }
    let OciManifest::Image(found) = parsed else {
        return Err(Trouble::Image("its index points to an index".to_owned()));
    };
    let blobs: Vec<Descriptor> = std::iter::once(&found.config)
        .chain(&found.layers)
        .map(image::descriptor)
        .collect();
    for blob in &blobs {
        bytes.add(0, u64::try_from(blob.size).unwrap_or(0));
    }
    let mut each: Vec<BoxFuture<'_, Result<(), Trouble>>> = Vec::new();
    for blob in &blobs {
        each.push(blob_of(engine, lease, &registry, image, blob, bytes).boxed());
    }
    stream::iter(each)
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    let label = |n: usize, blob: &Descriptor| {
        let name = if n == 0 {
            "config".to_owned()
        } else {
            format!("l.{}", n - 1)
        };
        (
            format!("containerd.io/gc.ref.content.{name}"),
            blob.digest.clone(),
        )
    };
    let labels = blobs
        .iter()
        .enumerate()
        .map(|(n, blob)| label(n, blob))
        .collect();
    document(engine, lease, &own, raw_own, labels).await?;
    if own.digest != target.digest {
        let to_own = [(
            "containerd.io/gc.ref.content.m.0".to_owned(),
            own.digest.clone(),
        )];
        document(engine, lease, &target, raw, to_own.into()).await?;
    }
    name(engine, image, target).await.map_err(Trouble::from)
}

fn parse(raw: &[u8]) -> Result<OciManifest, Trouble> {
    serde_json::from_slice(raw)
        .map_err(|e| Trouble::Image(format!("its manifest cannot be read: {e}")))
}

/// A manifest's bytes as the registry has them, and what they are.
async fn manifest_of(
    registry: &Client,
    image: &Reference,
    auth: &RegistryAuth,
) -> Result<(Descriptor, Vec<u8>), Trouble> {
    let (raw, digest) = registry.pull_manifest_raw(image, auth, &MANIFESTS).await?;
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = serde_json::from_slice(&raw)
        .map_err(|e| Trouble::Image(format!("its manifest cannot be read: {e}")))?;
    let plain = match kind.manifests {
        Some(_) => manifest::OCI_IMAGE_INDEX_MEDIA_TYPE,
        None => manifest::OCI_IMAGE_MEDIA_TYPE,
    };
    let what = Descriptor {
        media_type: kind.media_type.unwrap_or_else(|| plain.to_owned()),
        digest,
        size: i64::try_from(raw.len()).unwrap_or(i64::MAX),
        ..Descriptor::default()
    };
    Ok((what, raw.to_vec()))
}

/// Fetches one blob unless the store has it.
async fn blob_of(
    engine: &Engine,
    lease: &Lease,
    registry: &Client,
    image: &Reference,
    blob: &Descriptor,
    bytes: &Bytes<'_>,
) -> Result<(), Trouble> {
    let size = u64::try_from(blob.size).unwrap_or(0);
    let request = InfoRequest {
        digest: blob.digest.clone(),
    };
    // Asked under the lease, so that what is there stays.
    if engine.content().info(lease.call(request)).await.is_ok() {
        bytes.add(size, 0);
        return Ok(());
    }
    let body = registry
        .pull_blob_stream(image, blob.digest.as_str())
        .await?;
    let mut counted = 0;
    let parts = body.stream.map(|part| {
        let part = part.map_err(OciDistributionError::from)?;
        counted += part.len() as u64;
        bytes.add(part.len() as u64, 0);
        Ok::<_, Trouble>(part.to_vec())
    });
    write(engine, lease, blob, HashMap::new(), parts.boxed()).await
}

/// Writes a small document.
async fn document(
    engine: &Engine,
    lease: &Lease,
    what: &Descriptor,
    raw: Vec<u8>,
    labels: HashMap<String, String>,
) -> Result<(), Trouble> {
    let parts = stream::iter([Ok(raw)]).boxed();
    write(engine, lease, what, labels.clone(), parts).await?;
    // One that was there already has them, or had them from an import of less.
    unpack::refer(engine, &what.digest, labels)
        .await
        .map_err(Trouble::from)
}

/// Writes a blob; the engine checks its digest. One that is there already is fine.
async fn write(
    engine: &Engine,
    lease: &Lease,
    what: &Descriptor,
    labels: HashMap<String, String>,
    mut parts: stream::BoxStream<'_, Result<Vec<u8>, Trouble>>,
) -> Result<(), Trouble> {
    let (sender, receiver) = mpsc::channel(2);
    let message = |action: WriteAction, offset: i64, data: Vec<u8>| WriteContentRequest {
        action: action.into(),
        r#ref: format!("edgeio-{}", what.digest),
        total: what.size,
        expected: what.digest.clone(),
        offset,
        data,
        labels: labels.clone(),
    };
    let send = async move {
        let mut offset = 0;
        let gone = |_| Trouble::Engine(Status::aborted("the engine ended the write"));
        while let Some(part) = parts.next().await {
            let part = part?;
            let next = offset + i64::try_from(part.len()).unwrap_or(0);
            let sent = sender.send(message(WriteAction::Write, offset, part)).await;
            if sent.is_err() {
                // Why, the engine says itself.
                return Ok(());
            }
            offset = next;
        }
        let last = message(WriteAction::Commit, offset, Vec::new());
        sender.send(last).await.map_err(gone)
    };
    let receive = async {
        let stream = engine
            .content()
            .write(lease.call(ReceiverStream::new(receiver)))
            .await;
        let mut answers = match stream {
            Ok(answers) => answers.into_inner(),
            Err(status) => return written(Err(status)),
        };
        loop {
            match answers.message().await {
                Ok(Some(answer)) if answer.action == i32::from(WriteAction::Commit) => {
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(Trouble::Engine(Status::aborted(
                        "the write was not committed",
                    )));
                }
                Err(status) => return written(Err(status)),
            }
        }
    };
    // The sender is dropped with its half, and ends the stream.
    let (sent, received) = tokio::join!(send, receive);
    match (sent, received) {
        (_, Ok(())) => Ok(()),
        (Err(sent), Err(_)) => Err(sent),
        (Ok(()), Err(received)) => Err(received),
    }
}

fn written(answer: Result<(), Status>) -> Result<(), Trouble> {
    match answer {
        Err(status) if status.code() == Code::AlreadyExists => Ok(()),
        other => other.map_err(Trouble::from),
    }
}

/// Names the image; a name that was there points to the new one.
async fn name(engine: &Engine, image: &Reference, target: Descriptor) -> Result<(), Status> {
    let image = Image {
        name: image.whole(),
        labels: HashMap::from([(image::PULLED.to_owned(), "true".to_owned())]),
        target: Some(target),
        ..Image::default()
    };
    let request = CreateImageRequest {
        image: Some(image.clone()),
        ..CreateImageRequest::default()
    };
    match engine.images().create(call(request)).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::AlreadyExists => {
            let request = UpdateImageRequest {
                image: Some(image),
                ..UpdateImageRequest::default()
            };
            engine.images().update(call(request)).await.map(|_| ())
        }
        Err(status) => Err(status),
    }
}
