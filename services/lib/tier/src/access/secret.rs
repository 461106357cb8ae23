//! The form of a user's token: `edgeio_ID_SECRET`.
//!
//! The id is no secret and finds the record; the secret has 256 random bits and is known to its owner alone: here is only its
//! SHA-256, compared in a time that does not depend on it. The fixed beginning lets scanners of repositories find a leaked one.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use rand::TryRngCore as _;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

/// How every user's token begins.
pub(super) const PREFIX: &str = "edgeio_";
/// Longest text that is looked at. Ours have 67 bytes.
const LONGEST: usize = 128;

/// A new secret and what is kept of it. It is shown once and has no `Debug`.
pub(super) struct Fresh {
    /// Finds the record.
    pub(super) id: String,
    /// What the owner sends.
    pub(super) token: String,
    /// What is kept.
    pub(super) hash: [u8; 32],
}

impl Fresh {
    /// From the system's random numbers.
    ///
    /// # Errors
    /// It has none.
    pub(super) fn new() -> Result<Self, rand::rand_core::OsError> {
        let (mut id, mut secret) = ([0; 10], [0; 32]);
        rand::rngs::OsRng.try_fill_bytes(&mut id)?;
        rand::rngs::OsRng.try_fill_bytes(&mut secret)?;
        let id = BASE32_NOPAD.encode(&id).to_lowercase();
        let secret = BASE64URL_NOPAD.encode(&secret);
        Ok(Self {
            token: format!("{PREFIX}{id}_{secret}"),
            hash: hash(&secret),
            id,
        })
    }
}

/// A token that somebody shows.
pub(crate) struct Shown<'a> {
    pub(crate) id: &'a str,
    secret: &'a str,
}

impl<'a> Shown<'a> {
    /// Takes it apart; `None` if it has not the form.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
        (!id.is_empty() && !secret.is_empty()).then_some(Self { id, secret })
    }

    /// Whether the secret is the one of which this is the hash.
    pub(crate) fn is(&self, kept: &[u8; 32]) -> bool {
        hash(self.secret).ct_eq(kept).into()
    }
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_token_is_known_again_and_another_is_not() {
        let (one, two) = (Fresh::new().unwrap(), Fresh::new().unwrap());
        assert_ne!(one.token, two.token);
        let shown = Shown::parse(&one.token).unwrap();
        assert_eq!(shown.id, one.id);
        assert!(shown.is(&one.hash) && !shown.is(&two.hash));
        let cut = &one.token[..one.token.len() - 1];
        assert!(!Shown::parse(cut).unwrap().is(&one.hash));
    }

    #[test]
    fn what_has_not_the_form_is_none() {
        let long = format!("edgeio_a_{}", "x".repeat(200));
        for text in [
            "",
            "edgeio_",
            "edgeio_a",
            "edgeio__b",
            "edgeio_a_",
            "edge1:a:b.c",
            &long,
        ] {
            assert!(Shown::parse(text).is_none(), "{text}");
        }
    }
}
