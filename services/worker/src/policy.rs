//! What this worker lets jobs do beyond the little that every job may. It is the worker's owner who writes it, in a file on the
//! worker: no tier can change it, and what it does not name is refused with a reason that climbs to the user.
//!
//! The file is read once, at the start. Deliberately absent: rules for namespaces or users of the tiers, which are the tiers' own.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use edgeio_domain::spec::{ServiceSpec, Source, runtime};
use serde::Deserialize;

/// What is allowed; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// `sandbox.privileged`: jobs that may do all that root may. It includes all the others.
    pub privileged: bool,
    /// `sandbox.host_network`: containers on the worker's own network.
    pub host_network: bool,
    /// `sandbox.capabilities`: which may be asked for, such as `NET_RAW`.
    pub capabilities: BTreeSet<String>,
    /// `sandbox.devices`: which may be asked for, such as `/dev/ttyUSB0`. A `*` at the end stands for the rest of the name.
    pub devices: Vec<String>,
    /// `volumes[].host`: directories that may be mounted, with all below them. With `:ro` at the end they may only be read.
    pub host_mounts: Vec<String>,
    /// `user` of native jobs: whom they may name beside the user of the worker's configuration. `*` is anybody.
    pub native_users: BTreeSet<String>,
}

/// Why a policy could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("read the policy file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It says something else than a policy.
    #[error("the policy file `{}` is not valid", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Policy {
    /// Reads the file; without one nothing is allowed.
    ///
    /// # Errors
    /// It cannot be read, or it names something that is no part of a policy.
    pub fn read(file: Option<&Path>) -> Result<Self, PolicyError> {
        let Some(path) = file else {
            return Ok(Self::default());
        };
        let text = fs::read_to_string(path).map_err(|source| PolicyError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut policy: Self = toml::from_str(&text).map_err(|source| PolicyError::Invalid {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let bare = |name: String| {
            let upper = name.to_ascii_uppercase();
            upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
        };
        policy.capabilities = policy.capabilities.into_iter().map(bare).collect();
        Ok(policy)
    }

    /// What it allows, in words for the worker's inventory.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        [
            (self.privileged, "privileged"),
            (self.host_network || self.privileged, "host-network"),
            (
                !self.capabilities.is_empty() || self.privileged,
                "capabilities",
            ),
            (!self.devices.is_empty() || self.privileged, "devices"),
            (!self.host_mounts.is_empty(), "host-mounts"),
        ]
        .into_iter()
        .filter_map(|(allowed, word)| allowed.then_some(word))
        .collect()
    }

    /// Why a job with this spec is not taken, by its words alone. Where paths really lead is looked at when it starts.
    #[must_use]
    pub fn refusal(&self, spec: &ServiceSpec) -> Option<String> {
        let asked = &spec.sandbox;
        let all = self.privileged;
        let refuse = |what: String, key: &str| {
            Some(format!(
                "this worker's policy does not allow {what}: `{key}` in its policy file would"
            ))
        };
        if asked.privileged && !all {
            return refuse("privileged jobs".to_owned(), "privileged");
        }
        if asked.host_network && spec.image.is_some() && !all && !self.host_network {
            return refuse("its own network to containers".to_owned(), "host_network");
        }
        let capability = asked.capabilities.iter();
        if let Some(name) = capability
            .copied()
            .find(|name| !all && !self.capabilities.contains(*name))
        {
            return refuse(format!("the capability {name}"), "capabilities");
        }
        let mut devices = asked.devices.iter();
        if let Some(path) = devices.find(|path| !all && !self.has_device(path)) {
            return refuse(format!("the device {path}"), "devices");
        }
        for volume in &spec.volumes {
            if let Source::Host(path) = &volume.source
                && let Err(why) = self.host(Path::new(path), volume.read_only)
            {
                return Some(why);
            }
        }
        let native = spec.runtime == runtime::PROCESS;
        if let (true, Some(user)) = (native, &spec.user)
            && !self.native_users.contains(user)
            && !self.native_users.contains("*")
        {
            return refuse(format!("native jobs as the user {user}"), "native_users");
        }
        None
    }

    fn has_device(&self, path: &str) -> bool {
        self.devices
            .iter()
            .any(|known| match known.strip_suffix('*') {
                Some(begin) => path.starts_with(begin),
                None => path == known,
            })
    }

    /// Whether a path of the worker may be mounted.
    ///
    /// # Errors
    /// Why not.
    pub fn host(&self, path: &Path, read_only: bool) -> Result<(), String> {
        let mut known = self
            .host_mounts
            .iter()
            .map(|text| match text.strip_suffix(":ro") {
                Some(dir) => (Path::new(dir), true),
                None => (Path::new(text.as_str()), false),
            });
        let path_shown = path.display();
        let mut read = false;
        let writable = known.any(|(dir, only_read)| {
            let inside = path.starts_with(dir);
            read |= inside;
            inside && (read_only || !only_read)
        });
        match (writable, read) {
            (true, _) => Ok(()),
            (false, true) => Err(format!(
                "this worker's policy lets {path_shown} be read and not written: set `read_only`"
            )),
            (false, false) => Err(format!(
                "this worker's policy does not allow to mount {path_shown}: `host_mounts` in its policy file would"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeio_domain::{
        spec::{SandboxDraft, ServiceDraft, VolumeDraft},
        violation::Violations,
    };

    use super::*;

    fn policy(text: &str) -> Result<Policy, PolicyError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        fs::write(&file, text).unwrap();
        Policy::read(Some(&file))
    }

    fn spec(change: impl FnOnce(&mut ServiceDraft)) -> ServiceSpec {
        let mut draft = ServiceDraft {
            name: "web".into(),
            image: "busybox:1".into(),
            ..ServiceDraft::default()
        };
        change(&mut draft);
        let mut faults = Violations::default();
        let spec = ServiceSpec::check(&draft, "s", &mut faults);
        spec.unwrap_or_else(|| panic!("{:?}", faults.into_vec()))
    }

    fn sandbox(change: impl FnOnce(&mut SandboxDraft)) -> ServiceSpec {
        spec(|draft| change(&mut draft.sandbox))
    }

    fn host(path: &str, read_only: bool) -> ServiceSpec {
        spec(|draft| {
            draft.volumes.push(VolumeDraft {
                host: path.into(),
                path: "/in".into(),
                read_only,
                ..VolumeDraft::default()
            });
        })
    }

    #[test]
    fn nothing_is_allowed_unless_the_file_says_so() {
        let native = spec(|draft| {
            draft.image.clear();
            draft.command = vec!["/bin/true".into()];
            draft.user = "nobody".into();
        });
        let table = [
            (sandbox(|s| s.privileged = true), "privileged = true"),
            (sandbox(|s| s.host_network = true), "host_network = true"),
            (
                sandbox(|s| s.capabilities = vec!["NET_RAW".into()]),
                "capabilities = ['cap_net_raw']",
            ),
            (
                sandbox(|s| s.devices = vec!["/dev/ttyUSB0".into()]),
                "devices = ['/dev/ttyUSB*']",
            ),
            (host("/srv/data/x", false), "host_mounts = ['/srv/data']"),
            (host("/srv/data", true), "host_mounts = ['/srv:ro']"),
            (native, "native_users = ['nobody']"),
        ];
        for (spec, allows) in table {
            let refused = Policy::default().refusal(&spec).unwrap();
            assert!(refused.contains("policy file would"), "{refused}");
            assert_eq!(policy(allows).unwrap().refusal(&spec), None, "{allows}");
        }
        assert_eq!(Policy::default().refusal(&spec(|_| {})), None);
        let bounded = sandbox(|s| {
            s.read_only = true;
            s.pids = 10;
        });
        assert_eq!(
            Policy::default().refusal(&bounded),
            None,
            "less is always allowed"
        );
    }

    #[test]
    fn a_directory_is_no_prefix_of_another_ones_name_and_what_may_be_read_may_not_be_written() {
        let policy = policy("host_mounts = ['/srv/data', '/etc:ro']").unwrap();
        assert!(policy.host(Path::new("/srv/database"), true).is_err());
        let why = policy.host(Path::new("/etc/x"), false).unwrap_err();
        assert!(why.contains("read_only"), "{why}");
    }

    #[test]
    fn a_word_that_is_none_is_an_error_and_not_ignored() {
        let error = policy("priviledged = true").unwrap_err();
        assert!(matches!(error, PolicyError::Invalid { .. }), "{error}");
        let absent = Policy::read(Some(Path::new("/nowhere/policy.toml")));
        assert!(matches!(absent, Err(PolicyError::Read { .. })));
    }

    #[test]
    fn what_is_allowed_is_told_in_words() {
        assert!(Policy::default().words().is_empty());
        let policy = policy("devices = ['/dev/ttyUSB0']\nhost_network = true").unwrap();
        assert_eq!(policy.words(), ["host-network", "devices"]);
    }
}
