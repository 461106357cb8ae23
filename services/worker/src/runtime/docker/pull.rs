//! Images: references, and fetching with progress.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use bollard::{
    Docker, auth::DockerCredentials, models::CreateImageInfo,
    query_parameters::CreateImageOptionsBuilder,
};
use futures::StreamExt;

use super::errors::{is_unreachable, pull_class};
use crate::runtime::{
    Progress, RuntimeError, RuntimeKind, Step,
    registries::{Credential, of_repository},
};

/// The least time between two reports of progress: smooth for the eye, and few messages for a slow link.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// An image reference with its tag or digest spelled out: without one the engine would fetch every tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    repository: String,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Tag(String),
    Digest(String),
}

impl Reference {
    /// Splits a reference. The registry's port is no tag.
    pub(super) fn parse(image: &str) -> Result<Self, &'static str> {
        if image.is_empty() || image.contains(char::is_whitespace) {
            return Err("it is empty or holds white space");
        }
        if let Some((name, digest)) = image.split_once('@') {
            let repository = without_tag(name).0.to_owned();
            return Ok(Self {
                repository,
                version: Version::Digest(digest.to_owned()),
            });
        }
        let (repository, tag) = without_tag(image);
        let version = Version::Tag(tag.unwrap_or("latest").to_owned());
        Ok(Self {
            repository: repository.to_owned(),
            version,
        })
    }

    /// The same repository at one digest, unless it names one already.
    pub(super) fn pinned(self, digest: &str) -> Self {
        match self.version {
            Version::Digest(_) => self,
            Version::Tag(_) => Self {
                version: Version::Digest(digest.to_owned()),
                ..self
            },
        }
    }

    /// The part before tag or digest.
    pub(super) fn repository(&self) -> &str {
        &self.repository
    }
}

fn without_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

/// Fetches an image.
pub(super) async fn pull(
    docker: &Docker,
    socket: &str,
    image: &Reference,
    who: Option<Credential>,
    progress: &dyn Progress,
) -> Result<(), RuntimeError> {
    let version = match &image.version {
        Version::Tag(version) | Version::Digest(version) => version,
    };
    let options = CreateImageOptionsBuilder::new()
        .from_image(&image.repository)
        .tag(version)
        .build();
    let who = who.map(|who| DockerCredentials {
        username: Some(who.user),
        password: Some(who.password),
        serveraddress: Some(of_repository(&image.repository).to_owned()),
        ..DockerCredentials::default()
    });
    let mut layers = Layers::default();
    progress.step(layers.step());
    let mut reported = Instant::now();
    let mut lines = docker.create_image(Some(options), None, who);
    while let Some(line) = lines.next().await {
        let line = line.map_err(|error| match is_unreachable(&error) {
            true => RuntimeError::Reach {
                runtime: RuntimeKind::DOCKER,
                at: socket.to_owned(),
                source: error.into(),
            },
            false => {
                let class = pull_class(&error);
                RuntimeError::Pull {
                    image: image.to_string(),
                    class,
                    source: error.into(),
                }
            }
        })?;
        layers.take(line);
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            progress.step(layers.step());
        }
    }
    progress.step(layers.step());
    Ok(())
}

/// How far each layer is.
#[derive(Default)]
struct Layers(HashMap<String, (u64, u64)>);

impl Layers {
    fn take(&mut self, line: CreateImageInfo) {
        let (Some(id), Some(status)) = (line.id, line.status) else {
            return;
        };
        let size = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        match status.as_str() {
            "Downloading" => {
                let Some(detail) = line.progress_detail else {
                    return;
                };
                let (current, total) = (size(detail.current), size(detail.total));
                self.0.insert(id, (current, total.max(current)));
            }
            "Download complete" | "Pull complete" => {
                if let Some((current, total)) = self.0.get_mut(&id) {
                    *current = *total;
                }
            }
            _ => {}
        }
    }

    fn step(&self) -> Step {
        let sum = |pick: fn(&(u64, u64)) -> u64| self.0.values().map(pick).sum();
        Step::Pulling {
            current: sum(|l| l.0),
            total: sum(|l| l.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn references_are_spelled_out() {
        let digest = "sha256:00";
        let cases = [
            ("nginx", "nginx:latest", "nginx@sha256:00"),
            ("nginx:1", "nginx:1", "nginx@sha256:00"),
            (
                "127.0.0.1:15000/a/b",
                "127.0.0.1:15000/a/b:latest",
                "127.0.0.1:15000/a/b@sha256:00",
            ),
            ("host:1/x:2", "host:1/x:2", "host:1/x@sha256:00"),
            ("x@sha256:11", "x@sha256:11", "x@sha256:11"),
            ("x:1@sha256:11", "x@sha256:11", "x@sha256:11"),
        ];
        for (image, plain, pinned) in cases {
            let parsed = Reference::parse(image).unwrap();
            assert_eq!(parsed.to_string(), plain);
            assert_eq!(parsed.pinned(digest).to_string(), pinned);
        }
        assert!(Reference::parse("").is_err());
        assert!(Reference::parse("a b").is_err());
    }

    #[test]
    fn progress_is_summed_over_layers() {
        let line = |id: &str, status: &str, current, total| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail {
                current: Some(current),
                total: Some(total),
            }),
            ..CreateImageInfo::default()
        };
        let mut layers = Layers::default();
        layers.take(line("a", "Downloading", 10, 100));
        layers.take(line("b", "Downloading", 5, 50));
        layers.take(line("b", "Extracting", 1, 50));
        assert_eq!(
            layers.step(),
            Step::Pulling {
                current: 15,
                total: 150
            }
        );
        layers.take(line("a", "Download complete", 0, 0));
        assert_eq!(
            layers.step(),
            Step::Pulling {
                current: 105,
                total: 150
            }
        );
    }
}
