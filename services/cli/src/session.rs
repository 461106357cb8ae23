//! What `edgeio login` keeps between two runs: for each server a token and what its certificate authority is known by.
//!
//! The file is readable by its owner alone and is refused if others may read or write it. A token goes only to the server for
//! which it was kept, and never over a connection that others can read. No secret is ever an argument: it comes from a file
//! or from standard input.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use edgeio_client::Target;
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// Names another file than the usual one.
pub(crate) const FILE_VARIABLE: &str = "EDGEIO_CONTEXT";
/// Longest token: ID tokens with many groups have some KiB.
const LONGEST: u64 = 16 * 1024;

/// A token; it is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(..)")
    }
}

impl Token {
    /// As it goes into a call.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// From a file, or from standard input with `-`.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let mut text = String::new();
        let failed = |why: std::io::Error| {
            CliError::Usage(format!("read the token from {}: {why}", path.display()))
        };
        if path == Path::new("-") {
            let read = std::io::stdin().take(LONGEST + 1).read_to_string(&mut text);
            read.map_err(failed)?;
        } else {
            let file = fs::File::open(path).map_err(failed)?;
            file.take(LONGEST + 1)
                .read_to_string(&mut text)
                .map_err(failed)?;
        }
        let token = text.trim();
        let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_empty() || !printable || token.len() as u64 > LONGEST {
            return Err(CliError::Usage(format!(
                "{} holds no token: one line such as edgeio_... is expected",
                path.display()
            )));
        }
        Ok(Self(token.to_owned()))
    }
}

/// What is kept for one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) token: Token,
    /// The SHA-256 of its certificate authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_hash: Option<String>,
    /// A file of certificate authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

/// All logins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Logins {
    /// Of the last login: the server that is meant when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By the server's URL.
    #[serde(default)]
    pub(crate) servers: BTreeMap<String, Login>,
}

impl Logins {
    /// Where they are.
    pub(crate) fn path() -> Option<PathBuf> {
        if let Some(path) = env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()) {
            return Some(path.into());
        }
        let set = |name| env::var_os(name).filter(|path| !path.is_empty());
        let base = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config")));
        base.map(|base| base.join("edgeio").join("context.json"))
    }

    /// What is kept; nothing if there is no file.
    pub(crate) fn load() -> Result<Self, CliError> {
        let Some(path) = Self::path() else {
            return Ok(Self::default());
        };
        Self::read(&path)
    }

    fn read(path: &Path) -> Result<Self, CliError> {
        let wrong = |why: String| {
            CliError::Usage(format!(
                "{}: {why}; log in again with `edgeio login`",
                path.display()
            ))
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        refuse_loose(path)?;
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
    }

    /// Keeps them.
    pub(crate) fn save(&self) -> Result<PathBuf, CliError> {
        let path = Self::path().ok_or_else(|| {
            CliError::Usage(format!(
                "there is no home directory: name a file in {FILE_VARIABLE}"
            ))
        })?;
        self.write(&path).map_err(|error| {
            CliError::Failed(format!("keep the login in {}: {error}", path.display()))
        })?;
        Ok(path)
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(self)?;
        // Beside it and then in its place: a run that is cut off leaves the old one whole.
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&fresh)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&fresh, path));
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        written
    }

    /// The login for a server.
    pub(crate) fn of(&self, server: &Target) -> Option<&Login> {
        self.servers.get(&server.url())
    }
}

#[cfg(unix)]
fn refuse_loose(path: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = fs::metadata(path)?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "{} holds tokens and has the mode {mode:o}: others may read it; run `chmod 600 {0}`",
        path.display()
    )))
}

#[cfg(not(unix))]
fn refuse_loose(_: &Path) -> Result<(), CliError> {
    Ok(())
}

/// Refuses to send a token where others can read it.
pub(crate) fn refuse_readable(server: &Target) -> Result<(), CliError> {
    let host = server.host();
    let near = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    if server.is_secure() || near {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "a token would be readable on its way to {server}: write https://HOST:PORT"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins() -> Logins {
        let login = Login {
            token: Token("edgeio_a_b".to_owned()),
            ca_hash: None,
            ca: None,
        };
        Logins {
            current: Some("https://a:1".to_owned()),
            servers: BTreeMap::from([("https://a:1".to_owned(), login)]),
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("context.json");
        assert_eq!(Logins::read(&path).unwrap(), Logins::default());
        for _ in 0..2 {
            logins().write(&path).unwrap();
            assert_eq!(Logins::read(&path).unwrap(), logins());
        }
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1);
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Logins::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("640") && error.contains("chmod 600"),
            "{error}"
        );
        assert!(!format!("{:?}", logins()).contains("edgeio_a_b"));
    }

    #[test]
    fn a_token_comes_from_a_file_and_has_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "edgeio_a_b\n").unwrap();
        assert_eq!(Token::read(&path).unwrap().expose(), "edgeio_a_b");
        for bad in ["", "\n", "two words", "two\nlines", "ü"] {
            fs::write(&path, bad).unwrap();
            assert!(Token::read(&path).is_err(), "{bad}");
        }
        assert!(Token::read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_token_is_not_sent_readable() {
        for good in ["https://far:1", "127.0.0.1:1", "[::1]:1", "localhost:1"] {
            assert!(refuse_readable(&good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in ["far:1", "http://10.0.0.1:1"] {
            assert!(refuse_readable(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
