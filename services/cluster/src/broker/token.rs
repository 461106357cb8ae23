//! Tokens as a nats-server reads them: a JSON Web Token with NATS's own algorithm name, signed with an nkey.
//!
//! Pure. By hand, as this is one page: the broker's claims are not those of other tokens, and the library would bring more than
//! that. What stands in a token is [`claims`](super::claims)'s.

use data_encoding::{BASE32HEX_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha512_256};

const HEADER: &[u8] = br#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// Why a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The key is not a user's public nkey.
    #[error("`{key}` is not the public nkey of a user")]
    Key {
        /// As it was given, shortened.
        key: String,
    },
    /// A list of subjects is empty, which a broker takes for all subjects.
    #[error("a credential without a list of subjects would allow all of them")]
    Open,
    /// The claims have no JSON form, or the key cannot sign.
    #[error("sign a credential")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What every token says, in the order in which a broker's own tools write it.
#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    jti: String,
    iat: i64,
    iss: String,
    name: &'a str,
    sub: &'a str,
    nats: &'a Value,
}

/// When a token is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) issued: i64,
    /// `None` for ever.
    pub(super) expires: Option<i64>,
}

/// Signs what `subject` may.
pub(super) fn sign(
    by: &KeyPair,
    subject: &str,
    name: &str,
    validity: Validity,
    nats: &Value,
) -> Result<String, MintError> {
    let mut claims = Claims {
        exp: validity.expires,
        jti: String::new(),
        iat: validity.issued,
        iss: by.public_key(),
        name,
        sub: subject,
        nats,
    };
    let json =
        |claims: &Claims<'_>| serde_json::to_vec(claims).map_err(|e| MintError::Sign(e.into()));
    // The token's name is a hash of what it says.
    claims.jti = BASE32HEX_NOPAD.encode(&Sha512_256::digest(json(&claims)?));
    let said = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(HEADER),
        BASE64URL_NOPAD.encode(&json(&claims)?)
    );
    let signature = by
        .sign(said.as_bytes())
        .map_err(|error| MintError::Sign(error.into()))?;
    Ok(format!("{said}.{}", BASE64URL_NOPAD.encode(&signature)))
}

/// What a token says, if `by` signed it.
#[cfg(test)]
pub(super) fn verified(token: &str, by: &KeyPair) -> Option<Value> {
    let (said, signature) = token.rsplit_once('.')?;
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
    by.verify(said.as_bytes(), &signature).ok()?;
    let (_, claims) = said.split_once('.')?;
    serde_json::from_slice(&BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?).ok()
}
