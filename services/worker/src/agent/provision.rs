//! What a job sees of this worker: volumes that are kept, files of its spec, and paths of the worker's own that the policy allows.
//!
//! Volumes outlive instances and are removed by people only: a replica that comes back to this worker finds what it wrote. Files are
//! the instance's own and go with it. A path of the worker is followed to where it really leads before the policy is asked, and what
//! is mounted is that place: a link in it decides nothing afterwards.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    policy::Policy,
    runtime::{Content, ErrorClass, InstanceId, JobSpec, Mount, RuntimeError},
};

/// Makes mounts of what jobs shall see.
#[derive(Clone)]
pub(super) struct Provisioner(Arc<Inner>);

struct Inner {
    volumes: PathBuf,
    files: PathBuf,
    policy: Policy,
    /// Never shown to a job, whatever the policy says: who has these has the worker.
    own: Vec<PathBuf>,
}

impl Provisioner {
    /// Keeps volumes and files below `data_dir`. `sockets` are those of engines.
    pub(super) fn new(data_dir: &Path, policy: Policy, sockets: Vec<PathBuf>) -> Self {
        // A path that does not exist yet is taken as it is written.
        let real = |path: PathBuf| fs::canonicalize(&path).unwrap_or(path);
        let data_dir = real(data_dir.to_owned());
        let mut own: Vec<PathBuf> = sockets.into_iter().map(real).collect();
        own.push(data_dir.clone());
        Self(Arc::new(Inner {
            volumes: data_dir.join("volumes"),
            files: data_dir.join("files"),
            policy,
            own,
        }))
    }

    /// The job with mounts for all that it shall see.
    pub(super) fn prepare(&self, job: &JobSpec) -> Result<JobSpec, RuntimeError> {
        let mut made = job.clone();
        let instance = job.instance();
        let mut mounts = Vec::new();
        for (number, wanted) in job.provisions.iter().enumerate() {
            let (source, read_only) = match &wanted.content {
                Content::Volume { path, read_only } => (self.volume(path, instance)?, *read_only),
                Content::Host { path, read_only } => (self.host(path, *read_only)?, *read_only),
                Content::File { bytes, executable } => {
                    (self.file(instance, number, bytes, *executable)?, true)
                }
            };
            let target = PathBuf::from(&wanted.target);
            mounts.push(Mount {
                source,
                target,
                read_only,
            });
        }
        // What is nearer to the root first: a file in a volume is mounted on it.
        mounts.sort_by_key(|mount| mount.target.components().count());
        made.mounts.extend(mounts);
        made.provisions.clear();
        Ok(made)
    }

    /// Removes what was made for one instance.
    pub(super) fn clean(&self, instance: InstanceId) -> Result<(), RuntimeError> {
        match fs::remove_dir_all(self.0.files.join(instance.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", instance, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what is left of instances that are not there any more: the power may go between an instance's removal and that.
    pub(super) fn sweep(&self, keeps: impl Fn(InstanceId) -> bool) -> io::Result<()> {
        let entries = match fs::read_dir(&self.0.files) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            if id.is_some_and(|id| !keeps(InstanceId(id))) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// A directory that is kept. Any user may write in it, as jobs run as any; nobody else gets there, since the directory of all volumes is
    /// the worker's alone.
    fn volume(&self, path: &Path, instance: InstanceId) -> Result<PathBuf, RuntimeError> {
        let dir = self.0.volumes.join(path);
        let make = || {
            private(&self.0.volumes)?;
            if !dir.exists() {
                fs::create_dir_all(&dir)?;
                fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777))?;
            }
            Ok(())
        };
        make().map_err(|e| failed("create", instance, e))?;
        Ok(dir)
    }

    fn file(
        &self,
        instance: InstanceId,
        number: usize,
        bytes: &[u8],
        executable: bool,
    ) -> Result<PathBuf, RuntimeError> {
        let dir = self.0.files.join(instance.to_string());
        let file = dir.join(number.to_string());
        let make = || {
            private(&self.0.files)?;
            fs::create_dir_all(&dir)?;
            // The same as before: it may be mounted in a job that runs, and is not touched.
            if fs::read(&file).is_ok_and(|found| found == bytes) {
                return Ok(());
            }
            let mode = if executable { 0o555 } else { 0o444 };
            let fresh = dir.join(format!("{number}.new"));
            let mut open = fs::OpenOptions::new();
            open.write(true).create(true).truncate(true).mode(mode);
            let mut new = open.open(&fresh)?;
            // Whatever the process's own mask takes away.
            new.set_permissions(fs::Permissions::from_mode(mode))?;
            new.write_all(bytes)?;
            fs::rename(&fresh, &file)
        };
        make().map_err(|e| failed("create", instance, e))?;
        Ok(file)
    }

    /// A path of the worker's own.
    fn host(&self, path: &Path, read_only: bool) -> Result<PathBuf, RuntimeError> {
        let forbidden = |why: String| RuntimeError::Forbidden {
            what: path.display().to_string(),
            why,
        };
        let real = fs::canonicalize(path).map_err(|error| forbidden(error.to_string()))?;
        self.0.policy.host(&real, read_only).map_err(forbidden)?;
        let own = &self.0.own;
        if own
            .iter()
            .any(|own| own.starts_with(&real) || real.starts_with(own))
        {
            let why = format!("{} holds what the worker itself lives by", real.display());
            return Err(forbidden(why));
        }
        Ok(real)
    }
}

fn failed(verb: &'static str, instance: InstanceId, error: io::Error) -> RuntimeError {
    RuntimeError::Verb {
        verb,
        instance,
        class: ErrorClass::Retry,
        source: error.into(),
    }
}

fn private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{node::test_job, runtime::Provision};

    fn policy(dir: &Path) -> Policy {
        Policy {
            host_mounts: vec![dir.display().to_string()],
            ..Policy::default()
        }
    }

    fn see(target: &str, content: Content) -> Provision {
        Provision {
            target: target.to_owned(),
            content,
        }
    }

    fn host(path: PathBuf) -> Vec<Provision> {
        let read_only = true;
        vec![see("/in", Content::Host { path, read_only })]
    }

    #[test]
    fn volumes_stay_and_files_go_with_their_instance() {
        let dir = tempfile::tempdir().unwrap();
        let provisioner = Provisioner::new(dir.path(), Policy::default(), Vec::new());
        let mut job = test_job();
        let (id, read_only) = (job.instance(), false);
        let path = PathBuf::from("default/shop/db-0/data");
        let (bytes, executable) = (b"#!/bin/sh\n".to_vec(), true);
        job.provisions = vec![
            see("/data/run.sh", Content::File { bytes, executable }),
            see("/data", Content::Volume { path, read_only }),
        ];
        let made = provisioner.prepare(&job).unwrap();
        let [volume, file] = made.mounts.as_slice() else {
            panic!("{made:?}")
        };
        assert_eq!(volume.target, Path::new("/data"), "the outer one first");
        assert!(file.read_only && !volume.read_only);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&file.source), mode(&volume.source)), (0o555, 0o1777));
        assert_eq!(mode(&dir.path().join("volumes")), 0o700);
        fs::write(volume.source.join("kept"), "1").unwrap();
        assert_eq!(provisioner.prepare(&job).unwrap(), made, "twice is once");
        provisioner.clean(id).unwrap();
        provisioner.clean(id).unwrap();
        assert!(!file.source.exists());
        let again = provisioner.prepare(&job).unwrap();
        assert!(again.mounts[0].source.join("kept").exists());
        provisioner.sweep(|known| known == id).unwrap();
        assert!(again.mounts[1].source.exists());
        provisioner.sweep(|_| false).unwrap();
        assert!(!again.mounts[1].source.exists() && again.mounts[0].source.exists());
    }

    #[test]
    fn a_path_is_followed_before_the_policy_is_asked() {
        let (own, open) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open_dir = fs::canonicalize(open.path()).unwrap();
        let provisioner = Provisioner::new(own.path(), policy(&open_dir), Vec::new());
        let mut job = test_job();
        fs::create_dir(open_dir.join("in")).unwrap();
        symlink("in", open_dir.join("near")).unwrap();
        symlink("/etc", open_dir.join("out")).unwrap();
        job.provisions = host(open_dir.join("near"));
        let made = provisioner.prepare(&job).unwrap();
        assert_eq!(made.mounts[0].source, open_dir.join("in"));
        for bad in ["out", "nothing"] {
            job.provisions = host(open_dir.join(bad));
            let error = provisioner.prepare(&job).unwrap_err();
            assert!(matches!(error, RuntimeError::Forbidden { .. }), "{error}");
            assert_eq!(error.class(), ErrorClass::Permanent);
        }
    }

    #[test]
    fn what_the_worker_lives_by_is_never_shown() {
        let (own, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let socket = run.path().join("engine.sock");
        fs::write(&socket, "").unwrap();
        let provisioner =
            Provisioner::new(own.path(), policy(Path::new("/")), vec![socket.clone()]);
        let mut job = test_job();
        for path in [
            own.path().to_owned(),
            own.path().parent().unwrap().to_owned(),
            run.path().to_owned(),
            socket,
            "/".into(),
        ] {
            job.provisions = host(path.clone());
            let error = provisioner.prepare(&job).unwrap_err();
            assert!(
                matches!(error, RuntimeError::Forbidden { .. }),
                "{path:?}: {error}"
            );
        }
    }
}
