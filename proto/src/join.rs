//! What a join token looks like, for whoever shows one (`edgeio-client`) and whoever takes one (a root or a cluster).
//!
//! `edge1:CA:ID.SECRET`: the SHA-256 of the server's CA certificate in hex (`-` where there is none), by which the first contact
//! cannot be intercepted; a name that is no secret; 32 random bytes. What a token allows is known to the server alone.

use std::{fmt, str::FromStr};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

/// What stands before every token.
const PREFIX: &str = "edge1:";

/// Longest id. Ours have 12 letters.
const LONGEST_ID: usize = 64;

/// A token, in parts.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinText {
    /// SHA-256 of the CA's certificate; `None` where the server has no TLS of its own.
    pub ca: Option<[u8; 32]>,
    /// Names the token; no secret.
    pub id: String,
    /// The secret.
    pub secret: [u8; 32],
}

impl fmt::Debug for JoinText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinText")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A text is no join token. It says nothing of the text, which may be a secret of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no join token: one looks like `edge1:CA:ID.SECRET`, and is given in one piece")]
pub struct NoJoinToken;

impl FromStr for JoinText {
    type Err = NoJoinToken;

    fn from_str(text: &str) -> Result<Self, NoJoinToken> {
        let rest = text.trim().strip_prefix(PREFIX).ok_or(NoJoinToken)?;
        let (ca, rest) = rest.split_once(':').ok_or(NoJoinToken)?;
        let (id, secret) = rest.split_once('.').ok_or(NoJoinToken)?;
        let ca = match ca {
            "-" => None,
            hex => Some(bytes(&HEXLOWER_PERMISSIVE, hex)?),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(plain) {
            return Err(NoJoinToken);
        }
        Ok(Self {
            ca,
            id: id.to_owned(),
            secret: bytes(&BASE64URL_NOPAD, secret)?,
        })
    }
}

fn bytes(encoding: &data_encoding::Encoding, text: &str) -> Result<[u8; 32], NoJoinToken> {
    // 32 bytes have 43 or 64 letters: nothing longer is decoded.
    if text.len() > 64 {
        return Err(NoJoinToken);
    }
    let bytes = encoding.decode(text.as_bytes());
    bytes
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(NoJoinToken)
}

impl JoinText {
    /// The token as it is given to a machine. A secret: never to be logged.
    #[must_use]
    pub fn reveal(&self) -> String {
        let hex = |ca: &[u8; 32]| HEXLOWER_PERMISSIVE.encode(ca);
        let ca = self.ca.as_ref().map_or_else(|| "-".to_owned(), hex);
        let secret = BASE64URL_NOPAD.encode(&self.secret);
        format!("{PREFIX}{ca}:{}.{secret}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_back(
            ca in prop::option::of(any::<[u8; 32]>()), id in "[a-zA-Z0-9_-]{1,64}", secret: [u8; 32]
        ) {
            let token = JoinText { ca, id, secret };
            let text = token.reveal();
            prop_assert_eq!(text.parse::<JoinText>(), Ok(token.clone()));
            prop_assert_eq!(format!(" {text}\n").parse::<JoinText>(), Ok(token.clone()));
            let shown = format!("{token:?}");
            prop_assert!(!shown.contains(&BASE64URL_NOPAD.encode(&secret)));
        }

        #[test]
        fn no_other_text_is_one(text in ".{0,200}") {
            prop_assert!(text.parse::<JoinText>().is_err());
        }

        #[test]
        fn what_looks_like_one_is_read_without_harm(text in "edge1:[0-9a-f:.-]{0,200}") {
            let _ = text.parse::<JoinText>();
        }

        #[test]
        fn a_cut_token_is_none(secret: [u8; 32], ca: [u8; 32], at: prop::sample::Index) {
            let token = JoinText { ca: Some(ca), id: "abc".into(), secret }.reveal();
            let cut = &token[..at.index(token.len())];
            prop_assert!(cut.parse::<JoinText>().is_err());
        }
    }

    #[test]
    fn huge_and_crooked_texts_are_none() {
        let secret = BASE64URL_NOPAD.encode(&[7; 32]);
        for text in [
            format!("edge1:-:{}.{secret}", "x".repeat(65)),
            format!("edge1:-:.{secret}"),
            format!("edge1:-:a/b.{secret}"),
            format!("edge1::a.{secret}"),
            format!("edge1:00:a.{secret}"),
            format!("edge2:-:a.{secret}"),
            format!("edge1:-:a.{secret}="),
            format!("edge1:-:a.{}", "A".repeat(1_000_000)),
        ] {
            assert_eq!(text.parse::<JoinText>(), Err(NoJoinToken));
        }
        assert!(format!("edge1:-:a.{secret}").parse::<JoinText>().is_ok());
    }
}
