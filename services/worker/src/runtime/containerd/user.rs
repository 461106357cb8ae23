//! The user inside. Names are looked up in the image's own files, through the layers' directories: nothing is mounted for it and nothing of
//! the image is run.

use std::path::PathBuf;

use containerd_client::types::Mount;

use crate::runtime::users::{self, User};

/// Finds the user.
///
/// # Errors
/// The name that is not known.
pub(super) fn find(text: &str, mounts: &[Mount]) -> Result<User, String> {
    let dirs = directories(mounts);
    // A file of the uppermost layer that has it.
    let read = |name: &str| dirs.iter().find_map(|dir| users::read(dir, name));
    users::find(text, |name| read(name).unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn users_are_found_in_the_images_files() {
        let (upper, lower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(lower.path().join("etc")).unwrap();
        fs::write(lower.path().join("etc/passwd"), "web:x:33:34::/:/sh\n").unwrap();
        let option = format!("lowerdir={}:/nowhere", lower.path().display());
        let mount = Mount {
            options: vec![option, format!("upperdir={}", upper.path().display())],
            ..Mount::default()
        };
        let find = |text: &str| find(text, std::slice::from_ref(&mount)).map(|u| (u.uid, u.gid));
        assert_eq!(find("web"), Ok((33, 34)));
        // A link in the image leads nowhere.
        fs::create_dir(upper.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", upper.path().join("etc/passwd")).unwrap();
        assert_eq!(find("web"), Ok((33, 34)));
        assert_eq!(find("daemon"), Err("daemon".to_owned()));
    }
}
