//! Where control groups are mounted, and where in them we may make our own.
//!
//! Reads `/proc/self/mountinfo` and `/proc/<pid>/cgroup`. On a hybrid machine the version that holds the memory controller wins.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Group, Limits, Version};

/// Our directory in every hierarchy, unless the configuration names another.
const PARENT: &str = "edgeio";

/// One mount: the path inside the hierarchy that it shows, and where it shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    root: PathBuf,
    at: PathBuf,
}

/// The hierarchies of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    version: Version,
    /// By controller in version 1; one entry with an empty name in version 2.
    mounts: BTreeMap<String, Mount>,
}

/// A directory under which instances' groups can be made, proved by making one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    hierarchies: Hierarchies,
    parent: PathBuf,
}

impl Base {
    /// The group of an instance. Makes nothing.
    pub fn group(&self, name: &str) -> Group {
        self.hierarchies.group(&self.parent.join(name))
    }
}

impl Hierarchies {
    /// Reads the mounts of this process.
    ///
    /// # Errors
    /// A sentence for the user: no mounts, or none with a memory controller.
    pub fn read() -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
        Self::parse(&mounts, |at| {
            fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default()
        })
    }

    fn parse(mountinfo: &str, v2_controllers: impl Fn(&Path) -> String) -> Result<Self, String> {
        let mut v1 = BTreeMap::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let mut left = left.split(' ').skip(3);
            let (Some(root), Some(at)) = (left.next(), left.next()) else {
                continue;
            };
            let mount = Mount {
                root: root.into(),
                at: at.into(),
            };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") => v2 = Some(mount),
                Some("cgroup") => {
                    for option in right.nth(1).unwrap_or_default().split(',') {
                        v1.insert(option.to_owned(), mount.clone());
                    }
                }
                _ => {}
            }
        }
        if v1.contains_key("memory") {
            return Ok(Self {
                version: Version::V1,
                mounts: v1,
            });
        }
        let mount = v2.ok_or("control groups are not mounted")?;
        let controllers = v2_controllers(&mount.at);
        if !controllers.split_whitespace().any(|c| c == "memory") {
            return Err("the kernel offers no memory controller".to_owned());
        }
        Ok(Self {
            version: Version::V2,
            mounts: [(String::new(), mount)].into(),
        })
    }

    fn dir(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        let name = if self.version == Version::V2 {
            ""
        } else {
            controller
        };
        let mount = self.mounts.get(name)?;
        Some(mount.at.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// The group at an absolute `path`, as engines are told it. Makes nothing.
    pub fn at(&self, path: &Path) -> Group {
        self.group(path)
    }

    /// Whether the kernel accounts swap: without it a limit on swap cannot be written.
    pub fn accounts_swap(&self) -> bool {
        let file = match self.version {
            Version::V1 => "memory.memsw.limit_in_bytes",
            // The root group has no limits of its own; the file appears in every group below it.
            Version::V2 => return Path::new("/proc/swaps").exists(),
        };
        self.dir("memory", Path::new("/"))
            .is_some_and(|dir| dir.join(file).exists())
    }

    /// The group at `path` below the mounts.
    fn group(&self, path: &Path) -> Group {
        self.group_by(|_| Some(path.to_owned()))
    }

    fn group_by(&self, path: impl Fn(&str) -> Option<PathBuf>) -> Group {
        let dir = |controller: &str| self.dir(controller, &path(controller)?);
        Group {
            version: self.version,
            cpu: dir("cpu"),
            cpuacct: dir("cpuacct"),
            memory: dir("memory"),
            pids: dir("pids"),
            freezer: dir("freezer"),
        }
    }

    /// The group that process `pid` is in.
    ///
    /// # Errors
    /// The process is gone.
    pub fn of_process(&self, pid: u32) -> io::Result<Group> {
        let paths = self.paths_of(&fs::read_to_string(format!("/proc/{pid}/cgroup"))?);
        Ok(self.group_by(|controller| paths.get(controller).cloned()))
    }

    /// By controller, the path below the mount, from a text like `/proc/<pid>/cgroup`.
    fn paths_of(&self, text: &str) -> BTreeMap<String, PathBuf> {
        let mut paths = BTreeMap::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let below = |name: &str| {
                let root = self.mounts.get(name).map(|m| m.root.as_path());
                let path = Path::new(path);
                root.and_then(|r| path.strip_prefix(r).ok())
                    .unwrap_or(path)
                    .to_owned()
            };
            if self.version == Version::V2 && controllers.is_empty() {
                for name in ["cpu", "cpuacct", "memory", "pids", "freezer"] {
                    paths.insert(name.to_owned(), below(""));
                }
            }
            if self.version == Version::V1 {
                for name in controllers.split(',').filter(|c| !c.is_empty()) {
                    paths.insert(name.to_owned(), below(name));
                }
            }
        }
        paths
    }

    /// Finds where we may make groups, by making one with every limit and removing it. `configured` replaces the search.
    ///
    /// # Errors
    /// A sentence for the user: the first refusal.
    pub fn base(self, configured: Option<&Path>) -> Result<Base, String> {
        let mut refusal = None;
        for parent in self.candidates(configured) {
            let base = Base {
                hierarchies: self.clone(),
                parent,
            };
            let group = base.group(&format!("probe-{}", uuid::Uuid::new_v4()));
            let limits = Limits {
                cpu_millis: Some(1000),
                memory_bytes: Some(64 << 20),
                pids: Some(64),
            };
            let made = group.create(&limits);
            // What was made by halves must go too.
            let _ = group.remove();
            match made {
                Ok(()) => return Ok(base),
                Err(error) => refusal = refusal.or(Some(error.to_string())),
            }
        }
        Err(refusal.unwrap_or_else(|| "no place for control groups".to_owned()))
    }

    /// The top first; in version 2 then upwards from our own group, to where a delegated subtree begins. Our own group is no
    /// candidate: the kernel gives no controllers to children of a group with processes in it.
    fn candidates(&self, configured: Option<&Path>) -> Vec<PathBuf> {
        if let Some(path) = configured {
            return vec![path.to_owned()];
        }
        let mut all = vec![PathBuf::from(PARENT)];
        if self.version == Version::V2
            && let Ok(text) = fs::read_to_string("/proc/self/cgroup")
            && let Some(own) = self.paths_of(&text).remove("memory")
        {
            let own = own.strip_prefix("/").map(Path::to_owned).unwrap_or(own);
            let above = own
                .ancestors()
                .skip(1)
                .filter(|a| !a.as_os_str().is_empty());
            all.extend(above.map(|a| a.join(PARENT)));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn on_a_hybrid_machine_the_memory_controller_decides() {
        let found = Hierarchies::parse(HYBRID, |_| "hugetlb".to_owned()).unwrap();
        let group = found.group(Path::new("edgeio/x"));
        assert_eq!(group.version, Version::V1);
        assert_eq!(
            group.cpu,
            Some("/sys/fs/cgroup/cpu,cpuacct/edgeio/x".into())
        );
        assert_eq!(group.memory, Some("/sys/fs/cgroup/memory/edgeio/x".into()));
        assert_eq!(group.pids, None);
        assert_eq!(group.dirs().len(), 3, "cpu and cpuacct share a directory");
    }

    #[test]
    fn a_unified_machine_has_one_directory() {
        let found = Hierarchies::parse(UNIFIED, |_| "cpu memory pids".to_owned()).unwrap();
        let group = found.group(Path::new("edgeio/x"));
        assert_eq!(group.version, Version::V2);
        assert_eq!(group.dirs(), [Path::new("/sys/fs/cgroup/edgeio/x")]);
    }

    #[test]
    fn no_memory_controller_is_said() {
        let error = Hierarchies::parse(UNIFIED, |_| "cpu pids".to_owned()).unwrap_err();
        assert!(error.contains("memory controller"), "{error}");
        assert!(
            Hierarchies::parse("", |_| String::new())
                .unwrap_err()
                .contains("not mounted")
        );
    }

    #[test]
    fn paths_of_a_process_follow_the_mounts_root() {
        let found = Hierarchies::parse(HYBRID, |_| String::new()).unwrap();
        let paths = found.paths_of("4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n");
        assert_eq!(paths["memory"], Path::new("docker/abc"));
        assert_eq!(paths["cpuacct"], Path::new("docker/abc"));
        let nested = HYBRID.replace("0:32 /", "0:32 /outer");
        let nested = Hierarchies::parse(&nested, |_| String::new()).unwrap();
        assert_eq!(
            nested.paths_of("4:memory:/outer/in\n")["memory"],
            Path::new("in")
        );
    }
}
