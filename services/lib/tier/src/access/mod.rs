//! Who may do what at this tier: users, namespaces, and the audit of both and of everything else that changes.
//!
//! Deliberately absent: how a credential comes with a call (see `edgeio_server::auth`), and what a role may call (declared
//! beside the methods in the `.proto` files).

mod actor;
mod denials;
mod first;
mod journal;
pub(crate) mod namespaces;
pub(crate) mod quota;
mod secret;
mod tokens;
mod users;

use std::sync::Arc;

use edgeio_domain::{ids::IdSource, records::Owner, time::Clock};
use edgeio_proto::api::v1;
use edgeio_server::auth::{Binding, Principal, Role};
use edgeio_store::Store;

pub use actor::{Actor, Target};
pub use denials::{AuditDenials, Recorder, denials};
pub use first::{FirstAdminError, first_admin};
pub use tokens::UserTokens;

use crate::context::Context;

/// Users, namespaces and the audit, for people. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    own: Owner,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// On the tier's parts.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self {
            store: Arc::clone(&context.store),
            clock: Arc::clone(&context.clock),
            ids: Arc::clone(&context.ids),
            own: context.own,
        }
    }

    /// Who the caller is.
    #[must_use]
    pub fn who_am_i(&self, who: &Principal) -> v1::WhoAmIResponse {
        let show = |binding: &Binding| v1::RoleBinding {
            namespace: binding.namespace.clone().unwrap_or_default(),
            role: binding.role.to_string(),
        };
        v1::WhoAmIResponse {
            kind: who.kind.to_string(),
            id: who.id.clone(),
            name: who.name.clone(),
            method: who.method.word().to_owned(),
            bindings: who.bindings.iter().map(show).collect(),
        }
    }
}

/// Whether somebody may do everything.
fn is_admin(who: &Principal) -> bool {
    who.role_everywhere() >= Some(Role::Admin)
}
