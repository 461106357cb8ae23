//! The caller who needs no credential: somebody on this machine, or anybody under `--insecure`.

use async_trait::async_trait;
use tonic::metadata::MetadataMap;

use super::{AUTHORIZATION, AuthError, Authenticate, Peer, Principal, Role};

/// From where [`Local`] takes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From this machine only.
    Loopback,
    /// From everywhere: the operator gave `--insecure`.
    Anywhere,
    /// From nowhere: callers come with credentials.
    Nowhere,
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
    ) -> Result<Option<Principal>, AuthError> {
        // Someone who sends a credential means to be someone; being `dev` instead would surprise.
        if metadata.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        let near = peer
            .address
            .is_some_and(|from| from.ip().to_canonical().is_loopback());
        let known = match self.reach {
            Reach::Loopback => near,
            Reach::Anywhere => true,
            Reach::Nowhere => false,
        };
        Ok(known.then(|| Principal::dev(self.role)))
    }
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
                .unwrap()
                .unwrap();
            assert_eq!(who.name, "dev");
            assert_eq!(who.role_everywhere(), Some(Role::Operator));
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
            let who = near.authenticate(&MetadataMap::new(), &peer).await.unwrap();
            assert_eq!(who, None);
        }
        let far = Local {
            reach: Reach::Anywhere,
            ..near
        };
        let who = far
            .authenticate(&MetadataMap::new(), &from("10.0.0.7:9"))
            .await;
        assert!(who.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_credential_is_never_ignored() {
        let local = Local {
            role: Role::Admin,
            reach: Reach::Loopback,
        };
        let mut metadata = MetadataMap::new();
        metadata.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
        let who = local
            .authenticate(&metadata, &from("127.0.0.1:9"))
            .await
            .unwrap();
        assert_eq!(who, None);
    }
}
