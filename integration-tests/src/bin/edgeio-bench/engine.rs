//! A Docker engine as the benches use it: an image made here, and a container's create, start and removal by its own API.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use bollard::{
    Docker, body_full,
    models::{ContainerCreateBody, ContainerInspectResponse, HostConfig},
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder,
        RemoveImageOptions, StartContainerOptions,
    },
};
use futures::TryStreamExt;

/// The image that every container of the benches has.
pub(crate) const IMAGE: &str = "edgeio-bench/busybox:1";
/// What it runs: it waits, and ends when it is asked to. A plain `sleep` would ignore the request as process 1.
pub(crate) const COMMAND: [&str; 4] = [
    "/bin/busybox",
    "sh",
    "-c",
    "trap 'exit 0' TERM; /bin/busybox sleep 3600 & wait",
];

/// An engine that has the image.
pub(crate) struct Engine {
    pub(crate) docker: Docker,
    /// The image's id; by it nobody asks a registry.
    pub(crate) image: String,
}

impl Engine {
    /// The engine that `DOCKER_HOST` names, else the usual one.
    pub(crate) async fn usual(dir: &Path) -> Result<Self> {
        let docker = Docker::connect_with_defaults().context("connect to Docker")?;
        Self::with_image(docker, dir).await
    }

    /// Gives `docker` the image.
    pub(crate) async fn with_image(docker: Docker, dir: &Path) -> Result<Self> {
        let layer = layer(dir)?;
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(IMAGE)
            .build();
        docker
            .create_image(Some(options), Some(body_full(layer.into())), None)
            .try_collect::<Vec<_>>()
            .await
            .context("import the image")?;
        let image = docker
            .inspect_image(IMAGE)
            .await
            .context("find the image")?;
        Ok(Self {
            docker,
            image: image.id.context("the image has no id")?,
        })
    }

    /// A container of the image on `network`.
    pub(crate) fn body(&self, network: &str) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(self.image.clone()),
            cmd: Some(COMMAND.map(str::to_owned).to_vec()),
            labels: Some(HashMap::from([("edgeio-bench".to_owned(), "1".to_owned())])),
            host_config: Some(HostConfig {
                network_mode: Some(network.to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// Creates and starts a container, then removes it: milliseconds until it ran, and for the removal.
    pub(crate) async fn create_start_remove(
        &self,
        body: &ContainerCreateBody,
    ) -> Result<(f64, f64)> {
        let start = Instant::now();
        let created = self
            .docker
            .create_container(
                Some(CreateContainerOptionsBuilder::new().build()),
                body.clone(),
            )
            .await
            .context("create a container")?;
        let started = self
            .docker
            .start_container(&created.id, None::<StartContainerOptions>)
            .await;
        let ran = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        self.remove(&created.id).await?;
        started.context("start a container")?;
        Ok((ran, start.elapsed().as_secs_f64() * 1e3))
    }

    /// Kills and removes a container.
    pub(crate) async fn remove(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        let removed = self.docker.remove_container(id, Some(options)).await;
        removed.with_context(|| format!("remove container {id}"))
    }

    /// How a container is.
    pub(crate) async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse> {
        let found = self.docker.inspect_container(id, None).await;
        found.with_context(|| format!("inspect container {id}"))
    }

    /// Removes the image.
    pub(crate) async fn clean(&self) -> Result<()> {
        self.docker
            .remove_image(&self.image, None::<RemoveImageOptions>, None)
            .await
            .context("remove the image")?;
        Ok(())
    }
}

/// The image's only layer: busybox, which needs no library.
fn layer(dir: &Path) -> Result<Vec<u8>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let busybox = std::env::split_paths(&path)
        .map(|dir| dir.join("busybox"))
        .find(|file| file.is_file())
        .context("busybox is missing: integration-tests/tools/get-tools bench gets it")?;
    let root: PathBuf = dir.join("image");
    fs::create_dir_all(root.join("bin")).context("make the image's folder")?;
    fs::copy(&busybox, root.join("bin/busybox")).context("copy busybox")?;
    let tar = Command::new("tar")
        .args([
            "--create",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--directory",
        ])
        .arg(&root)
        .arg("bin")
        .output()
        .context("run tar")?;
    if !tar.status.success() {
        bail!("tar: {}", String::from_utf8_lossy(&tar.stderr));
    }
    Ok(tar.stdout)
}
