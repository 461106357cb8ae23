//! One process a database: an exclusive lock on a file beside it, and the rights of both.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::api::StoreError;

/// Only the owner reads and writes.
const OWNER_ONLY: u32 = 0o600;

/// Makes the file of the database if there is none, and takes its lock. Answers the path with links resolved, so that two
/// names of one file are one lock, and the lock, which lasts as long as that file is open.
pub(super) fn take(path: &Path) -> Result<(PathBuf, File), StoreError> {
    let failed = |what: &str, error: &io::Error| StoreError::Open {
        path: path.display().to_string(),
        what: format!("{what}: {error}"),
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| failed("its folder cannot be made", &error))?;
    }
    let file = open(path).map_err(|error| failed("its file cannot be opened", &error))?;
    // SQLite gives its other files the rights of this one.
    file.set_permissions(Permissions::from_mode(OWNER_ONLY))
        .map_err(|error| failed("its rights cannot be set", &error))?;
    let path = path
        .canonicalize()
        .map_err(|error| failed("its path cannot be resolved", &error))?;

    let mut beside = path.clone().into_os_string();
    beside.push(".lock");
    let lock = open(Path::new(&beside))
        .map_err(|error| failed("the lock file beside it cannot be opened", &error))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((path, lock)),
        Err(Errno::WOULDBLOCK) => Err(StoreError::Locked {
            path: path.display().to_string(),
        }),
        Err(error) => Err(failed(
            "the lock file beside it cannot be locked",
            &error.into(),
        )),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(path)
}
