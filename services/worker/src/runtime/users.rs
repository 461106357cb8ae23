//! Users by name or number, as specs and images write them: `UID`, `NAME`, `UID:GID` or `NAME:GROUP`.
//!
//! Names are looked up in files that the caller reads: an image's own or the node's.

use std::{fs, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use serde::{Deserialize, Serialize};

/// The largest passwd or group file that is read.
const FILE_MAX: u64 = 1 << 20;

/// Who a job runs as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// Its group's.
    pub gid: u32,
}

/// Finds a user; `file` gives `etc/passwd` and `etc/group`, empty where there is none. Nothing is root.
///
/// # Errors
/// The name that is not known.
pub(crate) fn find(text: &str, file: impl Fn(&str) -> String) -> Result<User, String> {
    if text.is_empty() {
        return Ok(User::default());
    }
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let passwd = || file("etc/passwd");
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
            entry(&file("etc/group"), named, 2).ok_or_else(|| name.to_owned())?
        }
    };
    Ok(User { uid, gid })
}

/// The number in `field` of the first line that fits.
fn entry(file: &str, fits: impl Fn(&[&str]) -> bool, field: usize) -> Option<u32> {
    let mut lines = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fits(fields))?.get(field)?.parse().ok()
}

/// A file of a directory; nothing if it is not there or not plain. A link is not followed: it could lead out of the directory.
pub(crate) fn read(dir: &Path, name: &str) -> Option<String> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(dir.join(name))
        .ok()?;
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let file = |name: &str| match name {
            "etc/passwd" => "root:x:0:0::/:/sh\nweb:x:33:34::/:/sh\n".to_owned(),
            _ => "staff:x:50:\n".to_owned(),
        };
        let find = |text: &str| find(text, file).map(|u| (u.uid, u.gid));
        assert_eq!(find(""), Ok((0, 0)));
        assert_eq!(find("web"), Ok((33, 34)));
        assert_eq!(find("33"), Ok((33, 34)));
        assert_eq!(find("1000"), Ok((1000, 0)));
        assert_eq!(find("web:staff"), Ok((33, 50)));
        assert_eq!(find("7:8"), Ok((7, 8)));
        assert_eq!(find("ghost"), Err("ghost".to_owned()));
    }
}
