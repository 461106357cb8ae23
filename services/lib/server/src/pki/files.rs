//! The directory of the authority: for its owner only, changed by one process at a time, each file whole or absent.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::PkiError;
use crate::files::write_private;

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    _lock: File,
}

impl Dir {
    /// Opens it, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, PkiError> {
        let failed = |source| access(path, source);
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            Ok(()) | Err(_) => {}
        }
        Self::lock(path)
    }

    /// Opens it if it is there.
    pub(super) fn existing(path: &Path) -> Result<Self, PkiError> {
        if !path.is_dir() {
            return Err(PkiError::None(path.to_owned()));
        }
        Self::lock(path)
    }

    fn lock(path: &Path) -> Result<Self, PkiError> {
        let file = path.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options
            .open(&file)
            .map_err(|source| access(&file, source))?;
        // Held for milliseconds by whoever has it.
        lock.lock().map_err(|source| access(&file, source))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of the files.
    pub(super) fn names(&self) -> Result<Vec<String>, PkiError> {
        let failed = |source| access(&self.path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    /// A file's content; `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, PkiError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(access(&path, source)),
        }
    }

    /// Writes a file so that it is whole or as it was, for its owner only. The directory is closed to others anyway.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<(), PkiError> {
        let path = self.path(name);
        write_private(&path, content.as_bytes()).map_err(|source| access(&path, source))
    }

    /// Writes a file if its content differs.
    pub(super) fn update(&self, name: &str, content: &str) -> Result<(), PkiError> {
        if self.read(name)?.as_deref() == Some(content.as_bytes()) {
            return Ok(());
        }
        self.write(name, content)
    }

    /// Removes a file if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), PkiError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(access(&path, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn access(path: &Path, source: io::Error) -> PkiError {
    PkiError::Access {
        path: path.to_owned(),
        source,
    }
}
