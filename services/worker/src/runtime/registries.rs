//! Who this worker is at registries, and how many images it fetches at a time; both engines go by it.
//!
//! Credentials are in a file of the worker's owner, in the form of Docker's `config.json`. It is read before each pull, so that a changed
//! password counts at once. Credentials go to the registry that they are written under and to no other. Deliberately absent: helper
//! programs (`credHelpers`, `credsStore`), which would run in the worker's name.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use data_encoding::{BASE64, BASE64_NOPAD};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{BoxError, ErrorClass, RuntimeError};

/// How many images are fetched at a time. One alone leaves the link idle while it unpacks; more share the same link and disk, and all come
/// later.
const AT_A_TIME: usize = 2;

/// Docker's own name of its registry, under which its tools write credentials.
const DOCKER_HUB: &str = "index.docker.io";

/// Who somebody is at a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The name.
    pub user: String,
    /// The secret.
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why the file gives no credential.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("read the registries file `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the registries file `{}` is not of the form of Docker's config.json", path.display())]
    Form {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("in the registries file `{}` the `auth` of {registry} is not USER:PASSWORD in base64", path.display())]
    Auth { path: PathBuf, registry: String },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
}

/// What drivers share that fetch images.
#[derive(Clone, Debug)]
pub struct Registries {
    file: Option<PathBuf>,
    pulls: Arc<Semaphore>,
}

impl Default for Registries {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Registries {
    /// With credentials of a file.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            pulls: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Waits until one more image may be fetched; it may while the answer lives.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed.
        self.pulls.acquire().await.ok()
    }

    /// Who the worker is at a registry: a host with its port, or Docker's under any of its names.
    ///
    /// # Errors
    /// The file cannot be used: trying again helps only after somebody has changed it, which may be soon.
    pub(super) fn credential(
        &self,
        registry: &str,
        image: &str,
    ) -> Result<Option<Credential>, RuntimeError> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        find(file, registry).map_err(|error| RuntimeError::Pull {
            image: image.to_owned(),
            class: ErrorClass::Retry,
            source: BoxError::from(error),
        })
    }
}

fn find(path: &Path, registry: &str) -> Result<Option<Credential>, FileError> {
    let text = fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let file: File = serde_json::from_str(&text).map_err(|source| FileError::Form {
        path: path.to_owned(),
        source,
    })?;
    let wanted = host(registry);
    let Some((name, auth)) = file
        .auths
        .into_iter()
        .find(|(name, _)| host(name) == wanted)
    else {
        return Ok(None);
    };
    if !auth.username.is_empty() {
        return Ok(Some(Credential {
            user: auth.username,
            password: auth.password,
        }));
    }
    let wrong = || FileError::Auth {
        path: path.to_owned(),
        registry: name.clone(),
    };
    if auth.auth.is_empty() {
        return Err(wrong());
    }
    let bytes = auth.auth.trim().as_bytes();
    let plain = BASE64.decode(bytes).or_else(|_| BASE64_NOPAD.decode(bytes));
    let plain = String::from_utf8(plain.map_err(|_| wrong())?).map_err(|_| wrong())?;
    let (user, password) = plain.split_once(':').ok_or_else(wrong)?;
    Ok(Some(Credential {
        user: user.to_owned(),
        password: password.to_owned(),
    }))
}

/// The host and port of a registry as files write it: with scheme and path, or without.
fn host(text: &str) -> &str {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = bare.split_once('/').map_or(bare, |(host, _)| host);
    match host {
        "docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DOCKER_HUB,
        other => other,
    }
}

/// The registry that an image's repository names, by the rule that all tools share: its first part is a host if it looks like one.
pub(super) fn of_repository(repository: &str) -> &str {
    match repository.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DOCKER_HUB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, registry: &str) -> Result<Option<(String, String)>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, text).unwrap();
        let found = find(&path, registry).map_err(|e| e.to_string())?;
        Ok(found.map(|c| (c.user, c.password)))
    }

    fn pair(user: &str, password: &str) -> Option<(String, String)> {
        Some((user.to_owned(), password.to_owned()))
    }

    #[test]
    fn credentials_are_found_by_their_registry_and_go_to_no_other() {
        // "ann:let:me in" and "bob:x", the latter without padding.
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "YW5uOmxldDptZSBpbg=="},
            "10.0.0.5:5000": {"auth": "Ym9iOng"},
            "r.example": {"username": "eve", "password": "y"}
        }, "credsStore": "desktop"}"#;
        assert_eq!(found(text, "docker.io"), Ok(pair("ann", "let:me in")));
        assert_eq!(found(text, "10.0.0.5:5000"), Ok(pair("bob", "x")));
        assert_eq!(found(text, "r.example"), Ok(pair("eve", "y")));
        for other in ["10.0.0.5", "10.0.0.5:5001", "example", "r.example.org"] {
            assert_eq!(found(text, other), Ok(None), "{other}");
        }
    }

    #[test]
    fn a_file_that_is_none_is_told_without_its_secrets() {
        for text in [
            "secret",
            r#"{"auths": {"r": {"auth": "secret!"}}}"#,
            r#"{"auths": {"r": {}}}"#,
        ] {
            let error = found(text, "r").unwrap_err();
            assert!(
                error.contains("registries file") && !error.contains("secret"),
                "{error}"
            );
        }
        let credential = Credential {
            user: "ann".to_owned(),
            password: "hidden".to_owned(),
        };
        assert!(!format!("{credential:?}").contains("hidden"));
    }

    #[test]
    fn the_first_part_of_a_repository_is_a_registry_if_it_looks_like_one() {
        for (repository, registry) in [
            ("nginx", DOCKER_HUB),
            ("library/nginx", DOCKER_HUB),
            ("localhost/x", "localhost"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000"),
            ("ghcr.io/a/b", "ghcr.io"),
        ] {
            assert_eq!(of_repository(repository), registry);
        }
    }

    #[tokio::test]
    async fn two_images_are_fetched_at_a_time() {
        let registries = Registries::default();
        let other = registries.clone();
        let (first, _second) = (registries.turn().await, other.turn().await);
        assert!(registries.pulls.try_acquire().is_err());
        drop(first);
        assert!(registries.pulls.try_acquire().is_ok());
    }
}
