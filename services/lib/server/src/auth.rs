//! Who calls. Every request passes [`Authenticate`] and carries a [`Principal`] from there on.
//!
//! This file has the contract and the answer for loopback without credentials. Certificates and
//! tokens are further implementations behind the same trait; whether a principal may do a thing is
//! decided by the tier, never here.

use std::net::SocketAddr;

use async_trait::async_trait;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::status::{Classify, Kind, Refusal, status};

crate::choice! {
    /// What a principal may do, each including those before it.
    pub enum Role {
        /// Read.
        Viewer = "viewer",
        /// Apply, scale and delete applications of the namespace.
        Deployer = "deployer",
        /// Manage the namespace and its users.
        NamespaceAdmin = "namespace-admin",
        /// Cordon, drain and forget clusters and workers.
        Operator = "operator",
        /// Everything.
        Admin = "admin",
    }
}

/// What sort of caller it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A person or a program of theirs.
    User,
    /// A cluster at its root.
    Cluster,
    /// A worker at its cluster.
    Worker,
    /// A bridge at its cluster.
    Bridge,
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Unique among its kind; for audit and ownership.
    pub name: String,
    /// What sort of caller it is.
    pub kind: PrincipalKind,
    /// The only namespace that it may touch; `None` for all.
    pub namespace: Option<String>,
    /// What it may do.
    pub role: Role,
}

/// Where a call came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address of the other end; `None` when the transport has none.
    pub address: Option<SocketAddr>,
}

/// Why a caller is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No credential where one is needed.
    #[error("this call needs a credential; this server takes calls without one on loopback only")]
    Missing,
    /// A credential that this server cannot verify.
    #[error("this server does not take credentials: call it without `authorization`")]
    NotTaken,
}

impl Classify for AuthError {
    fn kind(&self) -> Kind {
        Kind::Unauthenticated
    }
    fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "CREDENTIAL_MISSING",
            Self::NotTaken => "CREDENTIAL_NOT_TAKEN",
        }
    }
}

/// Turns what came with a call into a principal.
#[async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// Identifies the caller from the call's metadata and its peer.
    ///
    /// # Errors
    /// When the caller cannot be identified.
    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        peer: &Peer,
    ) -> Result<Principal, AuthError>;
}

/// From where [`Local`] takes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From this machine only.
    Loopback,
    /// From everywhere: the operator gave `--insecure`.
    Anywhere,
}

/// Calls without credentials are the principal `dev`, with a configured role.
#[derive(Debug, Clone, Copy)]
pub struct Local {
    /// What `dev` may do.
    pub role: Role,
    /// Who may call.
    pub reach: Reach,
}

#[async_trait]
impl Authenticate for Local {
    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        peer: &Peer,
    ) -> Result<Principal, AuthError> {
        // Someone who sends a credential means to be someone; being `dev` instead would surprise.
        if metadata.contains_key("authorization") {
            return Err(AuthError::NotTaken);
        }
        let near = peer
            .address
            .is_some_and(|from| from.ip().to_canonical().is_loopback());
        if !near && self.reach == Reach::Loopback {
            return Err(AuthError::Missing);
        }
        Ok(Principal {
            name: "dev".to_owned(),
            kind: PrincipalKind::User,
            namespace: None,
            role: self.role,
        })
    }
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

    fn from(address: &str) -> Peer {
        Peer {
            address: Some(address.parse().unwrap()),
        }
    }

    #[tokio::test]
    async fn loopback_without_credentials_is_dev() {
        let local = Local {
            role: Role::Operator,
            reach: Reach::Loopback,
        };
        for address in [
            "127.0.0.1:9",
            "127.8.8.8:9",
            "[::1]:9",
            "[::ffff:127.0.0.1]:9",
        ] {
            let who = local
                .authenticate(&MetadataMap::new(), &from(address))
                .await
                .unwrap();
            assert_eq!((who.name.as_str(), who.role), ("dev", Role::Operator));
        }
    }

    #[tokio::test]
    async fn other_machines_need_insecure() {
        let near = Local {
            role: Role::Admin,
            reach: Reach::Loopback,
        };
        let nowhere = Peer { address: None };
        for peer in [from("10.0.0.7:9"), from("[2001:db8::1]:9"), nowhere] {
            let error = near
                .authenticate(&MetadataMap::new(), &peer)
                .await
                .unwrap_err();
            assert_eq!(status(&error).code(), tonic::Code::Unauthenticated);
        }
        let far = Local {
            reach: Reach::Anywhere,
            ..near
        };
        assert!(
            far.authenticate(&MetadataMap::new(), &from("10.0.0.7:9"))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_credential_is_never_ignored() {
        let local = Local {
            role: Role::Admin,
            reach: Reach::Loopback,
        };
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", "Bearer x".parse().unwrap());
        let error = local
            .authenticate(&metadata, &from("127.0.0.1:9"))
            .await
            .unwrap_err();
        assert!(matches!(error, AuthError::NotTaken));
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

    #[test]
    fn roles_are_ordered_by_power() {
        assert!(Role::Viewer < Role::Deployer && Role::Operator < Role::Admin);
        assert_eq!("namespace-admin".parse(), Ok(Role::NamespaceAdmin));
    }
}
