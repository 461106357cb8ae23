//! Which machine calls: whose key a token proves, and what follows for the calls that only machines make.
//!
//! A child's id comes from here and never from a field of its request. Deliberately absent: how a token is verified
//! (`edgeio-server`, `auth::machine`).

use std::sync::Arc;

use async_trait::async_trait;
use edgeio_domain::ids::ChildId;
use edgeio_server::{
    auth::{Principal, PrincipalKind, Role, machine::Machines},
    status::{Classify, Kind},
};
use edgeio_store::Store;

use crate::context::Context;

/// The keys of children, and of bridges where there are some, in the tier's database.
pub struct Keys {
    store: Arc<dyn Store>,
    kind: PrincipalKind,
}

impl Keys {
    /// Of a tier whose children are of this kind.
    #[must_use]
    pub fn new(context: &Context, kind: PrincipalKind) -> Self {
        Self {
            store: Arc::clone(&context.store),
            kind,
        }
    }
}

#[async_trait]
impl Machines for Keys {
    async fn find(
        &self,
        key: &str,
    ) -> Result<Option<Principal>, Box<dyn std::error::Error + Send + Sync>> {
        let tx = self.store.read().await?;
        if self.kind == PrincipalKind::Worker
            && let Some(bridge) = tx.bridge_by_key(key).await?
        {
            let kind = PrincipalKind::Bridge;
            return Ok(Some(Principal::machine(
                kind,
                bridge.id.to_string(),
                bridge.name,
            )));
        }
        let child = tx.child_by_key(key).await?;
        Ok(child.map(|c| Principal::machine(self.kind, c.id.to_string(), c.display())))
    }
}

/// Who makes a call that is for machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A machine that this tier knows, by its key.
    Known(ChildId),
    /// A machine with a key that is not known, or that has only proven its key for joining.
    Key {
        /// The public nkey.
        key: String,
        /// It may join without a token: it could do anything an operator can even without a key, such as on this machine.
        trusted: bool,
    },
    /// An operator, or somebody on this machine: machines of versions without keys call like that.
    Operator,
}

/// The call is not for this caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this call is a {wanted}'s, and {name} is a {kind}: a {wanted} calls it with its own key")]
pub struct NotForYou {
    wanted: PrincipalKind,
    kind: PrincipalKind,
    name: String,
}

impl Classify for NotForYou {
    fn kind(&self) -> Kind {
        Kind::Forbidden
    }
    fn reason(&self) -> &'static str {
        "CALLER_KIND"
    }
}

/// Who calls, where machines of the kind `wanted` do.
///
/// # Errors
/// The caller is neither such a machine nor an operator.
pub fn caller(who: &Principal, wanted: PrincipalKind) -> Result<Caller, NotForYou> {
    let refused = || NotForYou {
        wanted,
        kind: who.kind,
        name: who.name.clone(),
    };
    let trusted = who.role_everywhere() >= Some(Role::Operator);
    if who.kind == wanted {
        let id = who.id.parse().map_err(|_| refused())?;
        return Ok(Caller::Known(ChildId(id)));
    }
    match who.kind {
        PrincipalKind::Stranger => Ok(Caller::Key {
            key: who.id.clone(),
            trusted,
        }),
        PrincipalKind::User | PrincipalKind::Dev if trusted => Ok(Caller::Operator),
        PrincipalKind::User
        | PrincipalKind::Dev
        | PrincipalKind::Cluster
        | PrincipalKind::Worker
        | PrincipalKind::Bridge
        | PrincipalKind::Anonymous => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn machine(kind: PrincipalKind, id: &str) -> Principal {
        Principal::machine(kind, id, "north")
    }

    #[test]
    fn a_machine_is_one_of_its_own_kind_only() {
        let id = Uuid::from_u128(7);
        let north = machine(PrincipalKind::Cluster, &id.to_string());
        assert_eq!(
            caller(&north, PrincipalKind::Cluster),
            Ok(Caller::Known(ChildId(id)))
        );
        for wanted in [PrincipalKind::Worker, PrincipalKind::Bridge] {
            let refused = caller(&north, wanted).unwrap_err();
            assert_eq!(refused.kind(), Kind::Forbidden);
        }
        assert!(caller(&Principal::anonymous(), PrincipalKind::Cluster).is_err());
        assert!(caller(&Principal::dev(Role::Deployer), PrincipalKind::Cluster).is_err());
        let dev = Principal::dev(Role::Operator);
        assert_eq!(caller(&dev, PrincipalKind::Cluster), Ok(Caller::Operator));
    }

    #[test]
    fn a_stranger_is_trusted_only_where_anybody_is() {
        let mut stranger = machine(PrincipalKind::Stranger, "UKEY");
        let key = |trusted| Caller::Key {
            key: "UKEY".to_owned(),
            trusted,
        };
        assert_eq!(caller(&stranger, PrincipalKind::Worker), Ok(key(false)));
        stranger.bindings = Principal::dev(Role::Admin).bindings;
        assert_eq!(caller(&stranger, PrincipalKind::Worker), Ok(key(true)));
    }
}
