//! Images in the engine's store: their names, their configuration, and the snapshot that their layers make.

use containerd_client::{
    services::v1::{GetImageRequest, ReadContentRequest},
    tonic::{Code, Status},
    types::Descriptor,
};
use oci_client::{Reference, manifest::OciManifest};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    engine::{Engine, call},
    unpack,
};
use crate::runtime::{JobSpec, RuntimeError, RuntimeKind};

/// On an image that we fetched: its digest means something to a registry. Others were imported here.
pub(super) const PULLED: &str = "edgeio.pulled";

/// The largest manifest or configuration that is read; registries refuse larger manifests.
const DOCUMENT_MAX: u64 = 4 << 20;

/// What an image says about how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ImageConfig {
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) working_dir: Option<String>,
    /// `uid`, `name`, `uid:gid` or `name:group`.
    pub(super) user: String,
    /// A number or a name such as `SIGQUIT`; empty for TERM.
    pub(super) stop_signal: String,
}

/// The parts that we read of an image's configuration document.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    config: Option<Words>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Words {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
}

impl From<Words> for ImageConfig {
    fn from(words: Words) -> Self {
        Self {
            entrypoint: words.entrypoint.unwrap_or_default(),
            cmd: words.cmd.unwrap_or_default(),
            env: words.env.unwrap_or_default(),
            working_dir: words.working_dir.filter(|dir| !dir.is_empty()),
            user: words.user.unwrap_or_default(),
            stop_signal: words.stop_signal.unwrap_or_default(),
        }
    }
}

/// An image that is here and unpacked.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) name: String,
    /// The digest in its registry, where it came from one.
    pub(super) digest: Option<String>,
    /// The snapshot of all its layers.
    pub(super) chain: String,
    pub(super) config: ImageConfig,
}

/// A layer and what it becomes.
pub(super) struct Layer {
    pub(super) blob: Descriptor,
    pub(super) diff_id: String,
    /// The snapshot of this layer on those below.
    pub(super) chain: String,
}

/// Refuses what no container can be made of, and returns the image that is asked for.
pub(super) fn check(job: &JobSpec) -> Result<Reference, RuntimeError> {
    let invalid = |field, why: String| RuntimeError::Invalid {
        runtime: RuntimeKind::CONTAINERD,
        field,
        why,
    };
    let image = job
        .image
        .as_deref()
        .ok_or_else(|| invalid("image", "a container needs one".to_owned()))?;
    if job.env.keys().any(|k| k.is_empty() || k.contains('=')) {
        return Err(invalid("env", "a name is empty or holds `=`".to_owned()));
    }
    let image: Reference = image
        .parse()
        .map_err(|e| invalid("image", format!("{e}")))?;
    Ok(match &job.image_digest {
        Some(digest) if image.digest().is_none() => image.clone_with_digest(digest.clone()),
        _ => image,
    })
}

/// Snapshots by the names that all tools give them: the first is its layer's, each further one a hash over those below and itself
/// (<https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid>).
fn chains(diff_ids: &[String]) -> Vec<String> {
    let mut chains: Vec<String> = Vec::new();
    for diff in diff_ids {
        let chain = match chains.last() {
            None => diff.clone(),
            Some(below) => format!(
                "sha256:{}",
                hex::encode(Sha256::digest(format!("{below} {diff}")))
            ),
        };
        chains.push(chain);
    }
    chains
}

/// Reads a small document of the store.
async fn read(engine: &Engine, blob: &Descriptor) -> Result<Vec<u8>, Status> {
    let mut bytes = Vec::new();
    let request = ReadContentRequest {
        digest: blob.digest.clone(),
        ..ReadContentRequest::default()
    };
    let mut stream = engine.content().read(call(request)).await?.into_inner();
    while let Some(part) = stream.message().await? {
        bytes.extend_from_slice(&part.data);
        if bytes.len() as u64 > DOCUMENT_MAX {
            let what = format!("{} is larger than {DOCUMENT_MAX} bytes", blob.digest);
            return Err(Status::invalid_argument(what));
        }
    }
    Ok(bytes)
}

fn unreadable(what: &str, error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("the image's {what} cannot be read: {error}"))
}

/// What a manifest or an index names.
pub(super) fn descriptor(found: &oci_client::manifest::OciDescriptor) -> Descriptor {
    Descriptor {
        media_type: found.media_type.clone(),
        digest: found.digest.clone(),
        size: found.size,
        ..Descriptor::default()
    }
}

/// The manifest for this machine out of what an image points to. `None` where the index has none for it.
pub(super) fn of_platform(manifest: &OciManifest) -> Option<Descriptor> {
    let OciManifest::ImageIndex(index) = manifest else {
        return None;
    };
    let digest = oci_client::client::current_platform_resolver(&index.manifests)?;
    let entry = index.manifests.iter().find(|m| m.digest == digest)?;
    Some(Descriptor {
        media_type: entry.media_type.clone(),
        digest,
        size: entry.size,
        ..Descriptor::default()
    })
}

/// Finds the image in the store and unpacks it where that was not done. `None` where the store does not have it, or not whole.
pub(super) async fn find(engine: &Engine, wanted: &Reference) -> Result<Option<Ready>, Status> {
    for name in names(wanted) {
        let request = GetImageRequest { name: name.clone() };
        let image = match engine.images().get(call(request)).await {
            Ok(answer) => answer.into_inner().image,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(status),
        };
        let Some(target) = image.as_ref().and_then(|i| i.target.clone()) else {
            continue;
        };
        let pulled = image.is_some_and(|i| i.labels.contains_key(PULLED));
        let digest = pulled.then(|| target.digest.clone());
        match open(engine, name, target, digest).await {
            Ok(ready) => return Ok(Some(ready)),
            // Part of it was collected, or it was imported for another machine: fetched again.
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    Ok(None)
}

/// The names under which an image may be stored: the full one, and for an import under a short name that one.
fn names(wanted: &Reference) -> Vec<String> {
    let full = wanted.whole();
    let short = full
        .strip_prefix("docker.io/library/")
        .or_else(|| full.strip_prefix("docker.io/"));
    let short = short.map(str::to_owned);
    std::iter::once(full).chain(short).collect()
}

/// Reads what an image consists of, and unpacks it where that was not done.
async fn open(
    engine: &Engine,
    name: String,
    target: Descriptor,
    digest: Option<String>,
) -> Result<Ready, Status> {
    let mut manifest: OciManifest = serde_json::from_slice(&read(engine, &target).await?)
        .map_err(|e| unreadable("manifest", e))?;
    if matches!(manifest, OciManifest::ImageIndex(_)) {
        let own =
            of_platform(&manifest).ok_or_else(|| Status::not_found("no image for this machine"))?;
        manifest = serde_json::from_slice(&read(engine, &own).await?)
            .map_err(|e| unreadable("manifest", e))?;
    }
    let OciManifest::Image(manifest) = manifest else {
        return Err(unreadable("manifest", "an index points to an index"));
    };
    let config = descriptor(&manifest.config);
    let document: Document = serde_json::from_slice(&read(engine, &config).await?)
        .map_err(|e| unreadable("configuration", e))?;
    let ids = document.rootfs.diff_ids;
    if ids.len() != manifest.layers.len() || ids.is_empty() {
        return Err(unreadable("configuration", "it does not fit the layers"));
    }
    let layers: Vec<Layer> = chains(&ids)
        .into_iter()
        .zip(ids)
        .zip(&manifest.layers)
        .map(|((chain, diff_id), blob)| Layer {
            blob: descriptor(blob),
            diff_id,
            chain,
        })
        .collect();
    let chain = unpack::layers(engine, &config, &layers).await?;
    Ok(Ready {
        name,
        digest,
        chain,
        config: document.config.unwrap_or_default().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_are_the_specifications() {
        let ids = ["sha256:aa".to_owned(), "sha256:bb".to_owned()];
        let chains = chains(&ids);
        assert_eq!(chains[0], "sha256:aa");
        let want = hex::encode(Sha256::digest("sha256:aa sha256:bb"));
        assert_eq!(chains[1], format!("sha256:{want}"));
    }

    #[test]
    fn an_image_is_looked_for_under_its_full_and_its_short_name() {
        let names = |text: &str| super::names(&text.parse().unwrap());
        assert_eq!(
            names("nginx"),
            ["docker.io/library/nginx:latest", "nginx:latest"]
        );
        assert_eq!(names("a/b:1"), ["docker.io/a/b:1", "a/b:1"]);
        assert_eq!(names("127.0.0.1:5000/x:1"), ["127.0.0.1:5000/x:1"]);
    }

    #[test]
    fn a_configuration_document_is_read() {
        let text = r#"{"architecture":"amd64","config":{"Cmd":["a"],"Entrypoint":null,"User":"7:8","WorkingDir":""},
            "rootfs":{"type":"layers","diff_ids":["sha256:aa"]}}"#;
        let document: Document = serde_json::from_str(text).unwrap();
        let config: ImageConfig = document.config.unwrap().into();
        assert_eq!(
            (config.cmd.len(), config.user.as_str(), config.working_dir),
            (1, "7:8", None)
        );
    }
}
