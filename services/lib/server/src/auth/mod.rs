//! Who calls. Every request passes [`Authenticate`] and carries a [`Principal`] from there on.
//!
//! Here is the contract, the [`Chain`] of several ways to be identified, and the answer for loopback
//! without credentials. Tokens are further implementations behind the same trait; what a principal
//! may do with one object is decided by the tier, never here.

mod chain;
mod denial;
mod key_set;
mod local;
pub mod machine;
pub mod oidc;
mod principal;
pub mod rules;

use std::net::SocketAddr;

use async_trait::async_trait;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

pub use chain::Chain;
pub use denial::{Denial, Denials, Unheard};
pub use local::{Local, Reach};
pub use principal::{Binding, CallInfo, Method, Principal, PrincipalKind, Role};

use crate::status::{Classify, Kind, Refusal, status};

/// Where credentials are.
pub const AUTHORIZATION: &str = "authorization";

/// Where a call came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address of the other end; `None` when the transport has none.
    pub address: Option<SocketAddr>,
}

/// Why a caller is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A credential of a kind that this server cannot verify.
    #[error(
        "this server knows no credential of this kind: use a token of its own, or call it without `authorization`"
    )]
    NotTaken,
    /// A credential that is not good: what is wrong with it, and what to do, without any part of it.
    #[error("the credential is not good: {0}")]
    Invalid(String),
    /// Credentials cannot be looked up now, such as while the database is away.
    #[error("credentials cannot be verified now; try again")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Classify for AuthError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotTaken | Self::Invalid(_) => Kind::Unauthenticated,
            Self::Unavailable(_) => Kind::Unavailable,
        }
    }
    fn reason(&self) -> &'static str {
        match self {
            Self::NotTaken => "CREDENTIAL_NOT_TAKEN",
            Self::Invalid(_) => "CREDENTIAL_INVALID",
            Self::Unavailable(_) => "CREDENTIAL_UNVERIFIED",
        }
    }
}

/// Turns what came with a call into a principal.
#[async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// Identifies the caller from the call's metadata and its peer. `None` says that nothing came that this one
    /// knows: another may know it.
    ///
    /// # Errors
    /// When what came is for this one to verify and is not good, so that nobody else may be asked.
    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        peer: &Peer,
    ) -> Result<Option<Principal>, AuthError>;
}

/// Identifies the caller: nobody, if nothing came.
///
/// # Errors
/// What came is nothing that anybody knows, or it is not good.
pub(crate) async fn identify(
    auth: &dyn Authenticate,
    metadata: &MetadataMap,
    peer: &Peer,
) -> Result<Principal, AuthError> {
    match auth.authenticate(metadata, peer).await? {
        Some(who) => Ok(who),
        None if metadata.contains_key(AUTHORIZATION) => Err(AuthError::NotTaken),
        None => Ok(Principal::anonymous()),
    }
}

/// The token of `authorization: Bearer TOKEN`; `None` without the header, or for another scheme.
#[must_use]
pub fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    // The scheme's case does not matter (RFC 9110).
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The principal of a request, for handlers.
///
/// # Errors
/// INTERNAL when the server was built without authentication: a call never passes unidentified.
pub fn principal<T>(request: &Request<T>) -> Result<&Principal, Status> {
    request
        .extensions()
        .get()
        .ok_or_else(|| status(&Refusal::NoPrincipal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_shows_nothing_is_nobody_and_what_is_not_known_is_refused() {
        let local = Local {
            role: Role::Admin,
            reach: Reach::Loopback,
        };
        let far = Peer {
            address: Some("10.0.0.7:9".parse().unwrap()),
        };
        let mut metadata = MetadataMap::new();
        let nobody = identify(&local, &metadata, &far).await.unwrap();
        assert_eq!(nobody, Principal::anonymous());
        metadata.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
        let near = Peer {
            address: Some("127.0.0.1:9".parse().unwrap()),
        };
        let taken = identify(&local, &metadata, &near).await.unwrap_err();
        assert!(matches!(taken, AuthError::NotTaken));
        assert_eq!(status(&taken).code(), tonic::Code::Unauthenticated);
    }

    #[test]
    fn a_bearer_token_is_found() {
        let of = |value: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert(AUTHORIZATION, value.parse().unwrap());
            bearer(&metadata).map(str::to_owned)
        };
        assert_eq!(of("Bearer a.b"), Some("a.b".to_owned()));
        assert_eq!(of("bearer  a.b "), Some("a.b".to_owned()));
        assert_eq!(of("Basic a.b"), None);
        assert_eq!(of("Bearer"), None);
        assert_eq!(bearer(&MetadataMap::new()), None);
    }

    #[test]
    fn a_handler_without_authentication_refuses() {
        let capture = crate::telemetry::Capture::start().expect("request failed inside");
        assert_eq!(
            principal(&Request::new(())).unwrap_err().code(),
            tonic::Code::Internal
        );
        capture.finish().unwrap();
    }
}
