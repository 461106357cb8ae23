//! Directories and files that a job sees: the words of a manifest, checked.
//!
//! Whether a path of the worker's own may be used, and where it really leads, is judged on the worker.

use std::collections::BTreeSet;

use crate::{name::Name, violation::Violations};

/// Longest path, in bytes: a quarter of what the kernel takes, since engines put their own directories before it.
const MAX_PATH: usize = 1024;
/// What belongs to the kernel: nothing is put over it.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A volume in the words of a manifest, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeDraft {
    /// Name or empty.
    pub name: String,
    /// Where it is seen.
    pub path: String,
    /// A path of the worker or empty.
    pub host: String,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Whether all replicas on a worker have one.
    pub shared: bool,
}

/// A file in the words of a manifest, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileDraft {
    /// Where it is seen.
    pub path: String,
    /// What is in it.
    pub content: String,
    /// Whether it can be run.
    pub executable: bool,
}

/// What is behind a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory that the worker keeps.
    Kept {
        /// Its name.
        name: Name,
        /// Whether all replicas on a worker have one.
        shared: bool,
    },
    /// A path of the worker's own.
    Host(String),
}

/// A directory that a job sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What is behind it.
    pub source: Source,
    /// Where it is seen.
    pub path: String,
    /// Whether nothing can be written.
    pub read_only: bool,
}

/// A file that a job finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is seen.
    pub path: String,
    /// What is in it.
    pub content: String,
    /// Whether it can be run.
    pub executable: bool,
}

/// Why a path was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    /// It is not absolute and plain.
    #[error(
        "must be an absolute path without `..`, double or trailing slashes, of 1024 bytes at most"
    )]
    Shape,
    /// It is the kernel's.
    #[error("must not be /proc, /sys or /dev, nor below them")]
    Kernel,
}

/// An absolute path that says where it leads: no way up, nothing empty.
pub(super) fn absolute(path: &str) -> Result<(), PathError> {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let whole = path == "/"
        || path
            .strip_prefix('/')
            .is_some_and(|p| p.split('/').all(plain));
    // Engines pass paths on in lists that are separated by these.
    let foreign = path.contains(|c: char| c.is_control() || c == ':' || c == ',');
    if whole && !foreign && path.len() <= MAX_PATH {
        Ok(())
    } else {
        Err(PathError::Shape)
    }
}

/// A path where something can be put.
fn target(path: &str) -> Result<(), PathError> {
    absolute(path)?;
    if path == "/" {
        return Err(PathError::Shape);
    }
    let below = |dir: &str| {
        path.strip_prefix(dir)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if KERNEL.iter().any(|dir| below(dir)) {
        return Err(PathError::Kernel);
    }
    Ok(())
}

/// Paths that were seen so far.
#[derive(Default)]
struct Places<'a>(BTreeSet<&'a str>);

impl<'a> Places<'a> {
    fn take(&mut self, at: &str, path: &'a str, faults: &mut Violations) {
        if faults.check(at, target(path)).is_some() && !self.0.insert(path) {
            faults.add(at, "is used twice");
        }
    }
}

pub(super) fn check(
    volumes: &[VolumeDraft],
    files: &[FileDraft],
    path: &str,
    faults: &mut Violations,
) -> (Vec<Volume>, Vec<File>) {
    let mut places = Places::default();
    let mut kept = Vec::new();
    for (index, draft) in volumes.iter().enumerate() {
        let at = format!("{path}.volumes[{index}]");
        places.take(&format!("{at}.path"), &draft.path, faults);
        if let Some(source) = source(draft, &at, faults) {
            kept.push(Volume {
                source,
                path: draft.path.clone(),
                read_only: draft.read_only,
            });
        }
    }
    let mut found = Vec::new();
    for (index, draft) in files.iter().enumerate() {
        places.take(&format!("{path}.files[{index}].path"), &draft.path, faults);
        found.push(File {
            path: draft.path.clone(),
            content: draft.content.clone(),
            executable: draft.executable,
        });
    }
    (kept, found)
}

fn source(draft: &VolumeDraft, at: &str, faults: &mut Violations) -> Option<Source> {
    match (draft.name.as_str(), draft.host.as_str()) {
        ("", "") => {
            let why = "give a name, or in `host` a path of the worker";
            faults.add(format!("{at}.name"), why);
            None
        }
        (name, "") => {
            let shared = draft.shared;
            let name = faults.check(&format!("{at}.name"), Name::new(name))?;
            Some(Source::Kept { name, shared })
        }
        ("", host) => {
            faults.check(&format!("{at}.host"), absolute(host));
            if draft.shared {
                faults.add(format!("{at}.shared"), "is for volumes with a name");
            }
            Some(Source::Host(host.to_owned()))
        }
        _ => {
            let why = "give either a name or a path of the worker";
            faults.add(format!("{at}.host"), why);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, host: &str, path: &str) -> VolumeDraft {
        VolumeDraft {
            name: name.into(),
            host: host.into(),
            path: path.into(),
            ..VolumeDraft::default()
        }
    }

    fn file(path: &str) -> FileDraft {
        FileDraft {
            path: path.into(),
            ..FileDraft::default()
        }
    }

    fn faults(volumes: &[VolumeDraft], files: &[FileDraft]) -> Vec<String> {
        let mut faults = Violations::default();
        check(volumes, files, "s", &mut faults);
        faults.into_vec().into_iter().map(|v| v.path).collect()
    }

    #[test]
    fn good_words_keep_their_meaning() {
        let drafts = [volume("data", "", "/data"), volume("", "/srv", "/srv/in")];
        let mut none = Violations::default();
        let (volumes, files) = check(&drafts, &[file("/etc/app.conf")], "s", &mut none);
        assert!(none.is_empty());
        let Source::Kept { name, shared } = &volumes[0].source else {
            panic!("{volumes:?}")
        };
        assert_eq!((name.as_str(), *shared), ("data", false));
        assert_eq!(volumes[1].source, Source::Host("/srv".into()));
        assert_eq!(files[0].path, "/etc/app.conf");
    }

    #[test]
    fn every_wrong_word_is_told_with_its_field() {
        let shared = VolumeDraft {
            shared: true,
            ..volume("", "/srv", "/data")
        };
        for (draft, field) in [
            (volume("", "", "/data"), "s.volumes[0].name"),
            (volume("Data", "", "/data"), "s.volumes[0].name"),
            (volume("data", "/srv", "/data"), "s.volumes[0].host"),
            (volume("", "/srv/../etc", "/data"), "s.volumes[0].host"),
            (volume("data", "", "data"), "s.volumes[0].path"),
            (volume("data", "", "/"), "s.volumes[0].path"),
            (volume("data", "", "/a//b"), "s.volumes[0].path"),
            (volume("data", "", "/a/"), "s.volumes[0].path"),
            (volume("data", "", "/a:ro"), "s.volumes[0].path"),
            (volume("data", "", "/proc/x"), "s.volumes[0].path"),
            (volume("data", "", "/dev"), "s.volumes[0].path"),
            (shared, "s.volumes[0].shared"),
        ] {
            assert_eq!(
                faults(std::slice::from_ref(&draft), &[]),
                [field],
                "{draft:?}"
            );
        }
        assert_eq!(faults(&[], &[file("/sys/x")]), ["s.files[0].path"]);
        let (volume, file) = (volume("data", "", "/data"), file("/data"));
        assert_eq!(faults(&[volume], &[file]), ["s.files[0].path"]);
        assert_eq!(
            faults(&[super::tests::volume("a", "", "/devices")], &[]),
            Vec::<String>::new()
        );
    }
}
