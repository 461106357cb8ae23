//! The user inside, from what the image says. Names are looked up in the image's own files, through the layers' directories:
//! nothing is mounted for it and nothing of the image is run.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use containerd_client::types::Mount;

use super::spec::User;

/// The largest passwd or group file that is read.
const FILE_MAX: u64 = 1 << 20;

/// Finds the user. `None` with the name that is not known.
pub(super) fn find(text: &str, mounts: &[Mount]) -> Result<User, String> {
    if text.is_empty() {
        return Ok(User::default());
    }
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let dirs = directories(mounts);
    let passwd = || read(&dirs, "etc/passwd");
    let (uid, own_group) = match user.parse() {
        Ok(uid) => (
            uid,
            entry(&passwd(), |fields| fields.get(2) == Some(&user), 3),
        ),
        Err(_) => {
            let passwd = passwd();
            let named = |fields: &[&str]| fields.first() == Some(&user);
            let uid = entry(&passwd, named, 2).ok_or_else(|| user.to_owned())?;
            (uid, entry(&passwd, named, 3))
        }
    };
    let gid = match (group, group.parse()) {
        ("", _) => own_group.unwrap_or(0),
        (_, Ok(gid)) => gid,
        (name, Err(_)) => {
            let named = |fields: &[&str]| fields.first() == Some(&name);
            entry(&read(&dirs, "etc/group"), named, 2).ok_or_else(|| name.to_owned())?
        }
    };
    Ok(User { uid, gid })
}

/// The number in `field` of the first line that fits.
fn entry(file: &str, fits: impl Fn(&[&str]) -> bool, field: usize) -> Option<u32> {
    let mut lines = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fits(fields))?.get(field)?.parse().ok()
}

/// The directories that an overlay or bind mount shows, the uppermost first.
fn directories(mounts: &[Mount]) -> Vec<PathBuf> {
    let Some(mount) = mounts.first() else {
        return Vec::new();
    };
    let option = |key: &str| mount.options.iter().find_map(|o| o.strip_prefix(key));
    let upper = option("upperdir=").into_iter();
    let lower = option("lowerdir=").into_iter().flat_map(|l| l.split(':'));
    let mut dirs: Vec<PathBuf> = upper.chain(lower).map(PathBuf::from).collect();
    if dirs.is_empty() {
        dirs.push(PathBuf::from(&mount.source));
    }
    dirs
}

/// A file of the uppermost layer that has it. A link is not followed: it could lead out of the image.
fn read(dirs: &[PathBuf], name: &str) -> String {
    let open = |dir: &PathBuf| {
        let file: &Path = &dir.join(name);
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).ok()?;
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(file)
            .ok()?;
        let mut text = String::new();
        file.take(FILE_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    };
    dirs.iter().find_map(open).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_in_the_images_files() {
        let (upper, lower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(lower.path().join("etc")).unwrap();
        fs::write(
            lower.path().join("etc/passwd"),
            "root:x:0:0::/:/sh\nweb:x:33:34::/:/sh\n",
        )
        .unwrap();
        fs::write(lower.path().join("etc/group"), "staff:x:50:\n").unwrap();
        let option = format!("lowerdir={}:/nowhere", lower.path().display());
        let mount = Mount {
            options: vec![option, format!("upperdir={}", upper.path().display())],
            ..Mount::default()
        };
        let find = |text: &str| find(text, std::slice::from_ref(&mount)).map(|u| (u.uid, u.gid));
        assert_eq!(find(""), Ok((0, 0)));
        assert_eq!(find("web"), Ok((33, 34)));
        assert_eq!(find("33"), Ok((33, 34)));
        assert_eq!(find("1000"), Ok((1000, 0)));
        assert_eq!(find("web:staff"), Ok((33, 50)));
        assert_eq!(find("7:8"), Ok((7, 8)));
        assert_eq!(find("ghost"), Err("ghost".to_owned()));
        // A link in the image leads nowhere.
        fs::create_dir(upper.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", upper.path().join("etc/passwd")).unwrap();
        assert_eq!(find("web"), Ok((33, 34)));
    }
}
