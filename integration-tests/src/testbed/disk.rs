//! A small disk for a program's data: a file system in memory of a few MiB, which a test fills and frees.
//!
//! Mounting takes rights. Where they are missing the bed does not start: a test of full disks that quietly used a large one
//! would prove nothing.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// A mounted disk; unmounted with its bed.
#[derive(Debug)]
pub(super) struct Disk {
    at: PathBuf,
    kept: bool,
}

impl Disk {
    /// Mounts one.
    pub(super) fn mount(at: &Path, mebibytes: u32) -> Result<Self> {
        fs::create_dir_all(at).context("make the place of a small disk")?;
        let options = format!("size={mebibytes}m,mode=0700");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "edgeio-disk"])
            .arg(at)
            .output()
            .context("run mount")?;
        if !done.status.success() {
            bail!(
                "a small disk could not be mounted: {}\nThe tests of full disks need the right to mount: run them as \
                 root, or in a container with CAP_SYS_ADMIN",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        Ok(Self {
            at: at.to_owned(),
            kept: false,
        })
    }

    /// What lies on it stays beside the other files of a failed story.
    pub(super) fn keep_files(&mut self) {
        if !self.kept {
            let beside = self.at.with_extension("disk");
            let _ = Command::new("cp")
                .arg("-a")
                .args([&self.at, &beside])
                .output();
        }
        self.kept = true;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still holds a file there must not keep the mount.
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

/// Writes to a file until its disk is full, and tells how many bytes it took.
///
/// # Errors
/// Another error than a full disk.
pub fn fill(file: &Path) -> Result<u64> {
    let mut filler = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .with_context(|| format!("open {}", file.display()))?;
    let mut written = 0;
    // Pages, then bytes: what is left over is less than anything that a program could write.
    for piece in [4096_usize, 1] {
        loop {
            match filler.write(&vec![0; piece]) {
                Ok(0) => break,
                Ok(length) => written += length as u64,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("fill a disk"),
            }
        }
    }
    Ok(written)
}
