//! A native job's own view of the file system: devices of its own, what the kernel tells about the machine masked, volumes and files
//! at their places, and if asked for nothing else writable.
//!
//! The view is a mount namespace. The shim's only thread enters it, starts the job, and goes back. Mounts that the node makes later are seen in
//! it, and what is mounted in it is not seen on the node. A place that the node does not have is made without touching the node: the
//! nearest directory above it is covered by one in memory, in which all that was in it is mounted again.

use std::{
    collections::BTreeSet,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::{
    mount::{
        MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
        mount_move, mount_remount,
    },
    process::chroot,
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use super::confine::Confine;
use crate::runtime::sandbox::{MASKED, READ_ONLY};

/// Devices that do nothing to the node.
const HARMLESS: [&str; 6] = [
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// The namespace that the shim came from.
pub(super) struct Home(OwnedFd);

/// Enters the view of a job, built with the help of the directory `scratch`, which is the instance's own. `work` stays writable.
///
/// # Errors
/// Something could not be mounted: the message says what. The caller must end.
pub(super) fn enter(confine: &Confine, scratch: &Path, work: &Path) -> io::Result<Home> {
    let home = Home(fs::File::open("/proc/self/ns/mnt")?.into());
    #[expect(unsafe_code, reason = "a namespace is left by nothing else")]
    // SAFETY: the process has one thread at this point, and a mount namespace shares no memory or descriptors with anything.
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNS)?;
    }
    let down = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", down)?;
    fs::create_dir_all(scratch)?;
    mount("tmpfs", scratch, c"tmpfs", MountFlags::empty(), c"mode=755")?;
    let mut view = View {
        scratch: scratch.to_owned(),
        covered: BTreeSet::new(),
        kept: vec![work.to_owned()],
    };
    if !confine.sandbox.privileged {
        view.devices(&confine.sandbox.devices)
            .map_err(|e| told("/dev", &e))?;
        for path in MASKED {
            view.mask(Path::new(path)).map_err(|e| told(path, &e))?;
        }
        for path in READ_ONLY {
            lock(Path::new(path)).map_err(|e| told(path, &e))?;
        }
    }
    for one in &confine.mounts {
        view.show(&one.source, &one.target, one.read_only)
            .map_err(|e| told(&one.target.display().to_string(), &e))?;
    }
    if confine.sandbox.read_only {
        view.read_only().map_err(|e| told("/", &e))?;
    }
    Ok(home)
}

fn told(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

impl Home {
    /// Goes back. The root and the working directory are those of the node again.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) fn back(&self) -> io::Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Mount))?;
        Ok(())
    }
}

/// Mounts something that is there on itself, unwritable. What is not there needs no lock.
fn lock(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    mount_bind_recursive(path, path)?;
    unwritable(path)
}

fn unwritable(path: &Path) -> io::Result<()> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount_remount(path, flags, c"")?)
}

struct View {
    /// Memory of the view's own.
    scratch: PathBuf,
    /// Directories that are covered by ones in memory.
    covered: BTreeSet<PathBuf>,
    /// What stays writable whatever else does not.
    kept: Vec<PathBuf>,
}

impl View {
    /// Replaces the node's devices by harmless ones and those that were allowed.
    fn devices(&mut self, allowed: &[String]) -> io::Result<()> {
        let dev = self.scratch.join("dev");
        fs::create_dir(&dev)?;
        mount(
            "tmpfs",
            &dev,
            c"tmpfs",
            MountFlags::NOSUID,
            c"mode=755,size=64k",
        )?;
        let allowed = allowed.iter().map(String::as_str);
        for path in HARMLESS.into_iter().chain(allowed) {
            let path = Path::new(path);
            let Ok(inside) = path.strip_prefix("/dev") else {
                continue;
            };
            let at = dev.join(inside);
            if let Some(parent) = at.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::File::create(&at)?;
            mount_bind(path, &at).map_err(|e| told(&path.display().to_string(), &e.into()))?;
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ] {
            symlink(target, dev.join(name))?;
        }
        let (pts, shm) = (dev.join("pts"), dev.join("shm"));
        fs::create_dir(&pts)?;
        let nosuid = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount(
            "devpts",
            &pts,
            c"devpts",
            nosuid,
            c"newinstance,ptmxmode=0666,mode=0620",
        )?;
        fs::create_dir(&shm)?;
        let all = nosuid | MountFlags::NODEV;
        mount("shm", &shm, c"tmpfs", all, c"mode=1777,size=64m")?;
        mount_move(&dev, "/dev")?;
        self.kept.push("/dev".into());
        Ok(())
    }

    /// Puts something empty over a path that is there.
    fn mask(&self, path: &Path) -> io::Result<()> {
        match fs::metadata(path) {
            Err(_) => Ok(()),
            Ok(meta) if meta.is_dir() => {
                let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
                Ok(mount("tmpfs", path, c"tmpfs", flags, c"mode=555,size=0")?)
            }
            Ok(_) => Ok(mount_bind("/dev/null", path)?),
        }
    }

    /// Shows `source` at `target`.
    fn show(&mut self, source: &Path, target: &Path, read_only: bool) -> io::Result<()> {
        let dir = fs::metadata(source)?.is_dir();
        match fs::symlink_metadata(target) {
            Ok(found) if found.is_dir() == dir && !found.is_symlink() => {}
            Ok(_) => {
                let why = "something else is at this place of the node";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            Err(_) => self.place(target, dir)?,
        }
        mount_bind_recursive(source, target)?;
        if read_only {
            unwritable(target)?;
        } else {
            self.kept.push(target.to_owned());
        }
        Ok(())
    }

    /// Makes a place that the node does not have.
    fn place(&mut self, target: &Path, dir: bool) -> io::Result<()> {
        let nearest = target.ancestors().find(|path| path.exists());
        let nearest = nearest.unwrap_or(Path::new("/")).to_owned();
        if !self.covered.iter().any(|covered| nearest == *covered) {
            self.cover(&nearest)?;
        }
        let parent = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent)?;
        // What was made below it is in memory too.
        for made in parent.ancestors().take_while(|path| **path != nearest) {
            self.covered.insert(made.to_owned());
        }
        if dir {
            fs::create_dir(target)
        } else {
            fs::File::create(target).map(drop)
        }
    }

    /// Covers a directory by one in memory that shows the same.
    fn cover(&mut self, dir: &Path) -> io::Result<()> {
        let top = dir == Path::new("/");
        let number = self.covered.len();
        let (below, made) = (
            self.scratch.join(format!("below{number}")),
            self.scratch.join(format!("cover{number}")),
        );
        fs::create_dir(&made)?;
        let mode = c"mode=755";
        mount("tmpfs", &made, c"tmpfs", MountFlags::empty(), mode)?;
        let from = if top {
            PathBuf::from("/")
        } else {
            fs::create_dir(&below)?;
            mount_bind_recursive(dir, &below)?;
            below
        };
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (kind, at) = (entry.file_type()?, made.join(entry.file_name()));
            if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, &at)?;
                continue;
            }
            if kind.is_dir() {
                fs::create_dir(&at)?;
            } else if kind.is_file()
                || kind.is_socket()
                || kind.is_fifo()
                || kind.is_char_device()
                || kind.is_block_device()
            {
                fs::File::create(&at)?;
            }
            mount_bind_recursive(entry.path(), &at)
                .map_err(|e| told(&entry.path().display().to_string(), &e.into()))?;
        }
        if top {
            chroot(&made)?;
            std::env::set_current_dir("/")?;
        } else {
            mount_move(&made, dir)?;
        }
        self.covered.insert(dir.to_owned());
        Ok(())
    }

    /// Makes every mount unwritable but those that are the job's to write.
    fn read_only(&self) -> io::Result<()> {
        for dir in self.kept.iter().filter(|dir| !dir.starts_with("/dev")) {
            // A mount of its own, so that it can be spared.
            mount_bind_recursive(dir, dir)?;
        }
        let spared = |path: &Path| self.kept.iter().any(|dir| path.starts_with(dir));
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        for line in table.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (Some(path), Some(options)) = (fields.get(4), fields.get(5)) else {
                continue;
            };
            let path = PathBuf::from(unescape(path));
            if spared(&path) || options.split(',').any(|word| word == "ro") {
                continue;
            }
            let mut flags = MountFlags::BIND | MountFlags::RDONLY;
            for word in options.split(',') {
                flags |= match word {
                    "nosuid" => MountFlags::NOSUID,
                    "nodev" => MountFlags::NODEV,
                    "noexec" => MountFlags::NOEXEC,
                    "noatime" => MountFlags::NOATIME,
                    "relatime" => MountFlags::RELATIME,
                    _ => MountFlags::empty(),
                };
            }
            match mount_remount(&path, flags, c"") {
                // Below another mount, where the job cannot reach it either.
                Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
                Err(error) => return Err(told(&path.display().to_string(), &error.into())),
            }
        }
        Ok(())
    }
}

/// The kernel writes blanks and the like in octal.
fn unescape(path: &str) -> String {
    let mut plain = path.to_owned();
    for (code, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(code, character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_kernels_table_are_read() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
    }
}
