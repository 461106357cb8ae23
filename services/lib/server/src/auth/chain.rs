//! Several ways to be identified, asked one after the other.

use std::sync::Arc;

use async_trait::async_trait;
use tonic::metadata::MetadataMap;

use super::{AuthError, Authenticate, Peer, Principal};

/// Asks each in its order: the first that knows the caller, or refuses it, decides.
#[derive(Clone, Default)]
pub struct Chain(Vec<Arc<dyn Authenticate>>);

impl std::fmt::Debug for Chain {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Chain").field(&self.0.len()).finish()
    }
}

impl Chain {
    /// One that knows nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks this one after those before it.
    #[must_use]
    pub fn then(mut self, next: impl Authenticate) -> Self {
        self.0.push(Arc::new(next));
        self
    }

    /// The same, if there is one.
    #[must_use]
    pub fn maybe(self, next: Option<impl Authenticate>) -> Self {
        match next {
            Some(next) => self.then(next),
            None => self,
        }
    }
}

#[async_trait]
impl Authenticate for Chain {
    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        peer: &Peer,
    ) -> Result<Option<Principal>, AuthError> {
        for next in &self.0 {
            if let Some(who) = next.authenticate(metadata, peer).await? {
                return Ok(Some(who));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    /// Knows the caller, does not, or refuses it.
    struct Fixed(Result<Option<Role>, ()>);

    #[async_trait]
    impl Authenticate for Fixed {
        async fn authenticate(
            &self,
            _: &MetadataMap,
            _: &Peer,
        ) -> Result<Option<Principal>, AuthError> {
            let known = self.0.map_err(|()| AuthError::Invalid("it is old".into()));
            known.map(|role| role.map(Principal::dev))
        }
    }

    async fn ask(chain: &Chain) -> Result<Option<Principal>, AuthError> {
        let peer = Peer { address: None };
        chain.authenticate(&MetadataMap::new(), &peer).await
    }

    #[tokio::test]
    async fn the_first_that_knows_or_refuses_decides() {
        assert_eq!(ask(&Chain::new()).await.unwrap(), None);
        let known = Chain::new()
            .then(Fixed(Ok(None)))
            .then(Fixed(Ok(Some(Role::Viewer))))
            .then(Fixed(Ok(Some(Role::Admin))))
            .then(Fixed(Err(())));
        let who = ask(&known).await.unwrap().unwrap();
        assert_eq!(who.highest_role(), Some(Role::Viewer));
        let refused = Chain::new()
            .then(Fixed(Err(())))
            .then(Fixed(Ok(Some(Role::Admin))));
        assert!(matches!(ask(&refused).await, Err(AuthError::Invalid(_))));
    }
}
