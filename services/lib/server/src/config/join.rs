//! The join token that a machine is started with, until it is known.

use std::{fs, io, path::PathBuf};

use edgeio_proto::join::JoinText;

use super::{Secret, Validate};

crate::config! {
    /// How a machine joins. Used by [`Flat`](super::Flat), so its keys have no prefix.
    pub struct JoinConfig {
        /// The join token, as `edgeio token create` printed it. Needed for the first contact only. It has no flag, since
        /// arguments can be read in the process list; a file is better still.
        pub join_token: Secret<String>,
        /// File with the join token. Read at each attempt to join, and only then; it may be removed afterwards.
        pub join_token_file: PathBuf,
    }
}

impl Validate for JoinConfig {
    fn validate(&self, check: &mut super::Check<'_>) {
        if !self.join_token.expose().is_empty() && !self.join_token_file.as_os_str().is_empty() {
            check.fail(
                "join_token_file",
                "there is a `join_token` too, and only one of them can be meant",
                "give one of the two",
            );
        }
    }
}

impl JoinConfig {
    /// The SHA-256 of the certificate authority of the server that made the token, in hexadecimal, if the token has it: enough for a
    /// first contact that nobody can intercept.
    #[must_use]
    pub fn ca_hash(&self) -> Option<String> {
        let token: JoinText = self.token().ok()?.parse().ok()?;
        token.ca.map(hex::encode)
    }

    /// The token; empty if there is none. A file that was removed after the machine had joined is no fault.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn token(&self) -> io::Result<String> {
        if self.join_token_file.as_os_str().is_empty() {
            return Ok(self.join_token.expose().trim().to_owned());
        }
        match fs::read_to_string(&self.join_token_file) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_from_the_file_or_from_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "edge1:x\n").unwrap();
        let by_file = JoinConfig {
            join_token_file: file.clone(),
            ..JoinConfig::default()
        };
        assert_eq!(by_file.token().unwrap(), "edge1:x");
        fs::remove_file(&file).unwrap();
        assert_eq!(by_file.token().unwrap(), "", "it has joined and forgotten");
        let given = JoinConfig {
            join_token: Secret::new(" edge1:y ".to_owned()),
            ..JoinConfig::default()
        };
        assert_eq!(given.token().unwrap(), "edge1:y");
        assert_eq!(given.ca_hash(), None);
        let token = JoinText {
            ca: Some([0xab; 32]),
            id: "a".to_owned(),
            secret: [1; 32],
        };
        let pinned = JoinConfig {
            join_token: Secret::new(token.reveal()),
            ..JoinConfig::default()
        };
        assert_eq!(pinned.ca_hash(), Some("ab".repeat(32)));
        assert!(!format!("{given:?}").contains("edge1"));
        let directory = JoinConfig {
            join_token_file: dir.path().to_owned(),
            ..JoinConfig::default()
        };
        assert!(directory.token().is_err());
    }
}
