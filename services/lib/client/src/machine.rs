//! How a machine says who it is: a token that it signs with its own key, made anew for each call.
//!
//! The key is an nkey (Ed25519) and never leaves the machine; the token names its public half, the one server that it is
//! for, and a time of a few minutes. So a server that was told a token can do nothing with it elsewhere, and who reads a token
//! later can do nothing with it at all. Deliberately absent: what a server makes of it (`edgeio-server`, `auth::machine`).

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use edgeio_proto::machine::{Claims, LIFE, REGISTER_AUDIENCE, TYPE};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use tonic::{
    Code, Request, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
    service::Interceptor,
};
use tonic_types::StatusExt as _;

/// What stands before the 32 bytes of an Ed25519 seed in its PKCS #8 form (RFC 8410): the library takes nothing shorter.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why a machine cannot say who it is.
#[derive(Debug, thiserror::Error)]
pub enum MachineKeyError {
    /// The seed is no seed of an nkey.
    #[error("read the machine's key")]
    Seed(#[source] nkeys::error::Error),
    /// The library does not take the key, or cannot sign.
    #[error("sign with the machine's key")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// A machine's key, ready to sign.
pub struct MachineKey {
    public: String,
    key: EncodingKey,
}

impl fmt::Debug for MachineKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("MachineKey").field(&self.public).finish()
    }
}

impl MachineKey {
    /// The key of an nkey's seed (`S..`), whatever kind of nkey it is.
    ///
    /// # Errors
    /// The text is no seed.
    pub fn from_seed(seed: &str) -> Result<Self, MachineKeyError> {
        let seed = seed.trim();
        let pair = nkeys::KeyPair::from_seed(seed).map_err(MachineKeyError::Seed)?;
        let (_, raw) = nkeys::decode_seed(seed).map_err(MachineKeyError::Seed)?;
        let der = [PKCS8.as_slice(), &raw].concat();
        Ok(Self {
            public: pair.public_key(),
            key: EncodingKey::from_ed_der(&der),
        })
    }

    /// The public nkey.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// A token for the server `audience`, made at `now` (since 1970).
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn token(&self, audience: &str, now: Duration) -> Result<String, MachineKeyError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        let claims = Claims {
            sub: self.public.clone(),
            aud: audience.to_owned(),
            iat: now.as_secs(),
            exp: (now + LIFE).as_secs(),
        };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(MachineKeyError::Sign)
    }
}

/// Whether a server refused a call only because it came with a credential: one of before, which knows no keys.
#[must_use]
pub fn takes_no_credential(status: &Status) -> bool {
    status.code() == Code::Unauthenticated
        && status
            .get_details_error_info()
            .is_some_and(|info| info.reason == "CREDENTIAL_NOT_TAKEN")
}

/// Puts a fresh token on each call to one server.
#[derive(Clone, Debug)]
pub struct Signer {
    key: Option<Arc<MachineKey>>,
    audience: Arc<str>,
}

impl Signer {
    /// For a server whose id is not known yet: good for `Register` alone.
    #[must_use]
    pub fn new(key: Arc<MachineKey>) -> Self {
        Self {
            key: Some(key),
            audience: REGISTER_AUDIENCE.into(),
        }
    }

    /// Puts nothing on calls: for a server that takes no credentials.
    #[must_use]
    pub fn none() -> Self {
        Self {
            key: None,
            audience: REGISTER_AUDIENCE.into(),
        }
    }

    /// For the server with this id.
    #[must_use]
    pub fn to(&self, server: &str) -> Self {
        Self {
            key: self.key.clone(),
            audience: server.into(),
        }
    }

    /// Puts the token into a call's metadata, in place of any other credential.
    ///
    /// # Errors
    /// INTERNAL when the key cannot sign.
    pub fn authorize(&self, metadata: &mut MetadataMap) -> Result<(), Status> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let token = key.token(&self.audience, now);
        let value = token.map(|token| format!("Bearer {token}").parse::<AsciiMetadataValue>());
        let Ok(Ok(mut value)) = value else {
            return Err(Status::internal("this machine's key cannot sign"));
        };
        value.set_sensitive(true);
        metadata.insert("authorization", value);
        Ok(())
    }
}

impl Interceptor for Signer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.authorize(request.metadata_mut())?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_nkeys_own_whatever_its_kind() {
        for pair in [nkeys::KeyPair::new_user(), nkeys::KeyPair::new_cluster()] {
            let key = MachineKey::from_seed(&format!("{}\n", pair.seed().unwrap())).unwrap();
            assert_eq!(key.public_key(), pair.public_key());
            let token = key.token("there", Duration::from_secs(7)).unwrap();
            let (said, signature) = token.rsplit_once('.').unwrap();
            let signature = data_encoding::BASE64URL_NOPAD
                .decode(signature.as_bytes())
                .unwrap();
            pair.verify(said.as_bytes(), &signature).unwrap();
        }
        assert!(MachineKey::from_seed("SUAB").is_err());
        assert!(MachineKey::from_seed("").is_err());
    }

    #[test]
    fn a_token_is_on_the_call_and_not_in_its_debug_output() {
        let pair = nkeys::KeyPair::new_user();
        let key = MachineKey::from_seed(&pair.seed().unwrap()).unwrap();
        let mut signer = Signer::new(Arc::new(key)).to("there");
        let call = signer.call(Request::new(())).unwrap();
        let value = call.metadata().get("authorization").unwrap();
        assert!(value.to_str().unwrap().starts_with("Bearer eyJ"));
        assert!(!format!("{call:?} {signer:?}").contains("eyJ"));
    }
}
