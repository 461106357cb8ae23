//! Who calls, once that is known: a name, a kind, and what it is bound to.
//!
//! A principal says what somebody may do in general; whether one call is let through is decided by the tier. Deliberately
//! absent: how a credential is verified (see the implementations of [`Authenticate`](super::Authenticate)).

use std::{fmt, net::SocketAddr};

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

impl Role {
    /// Whether it is about more than namespaces, so that it is only ever given for all of them.
    #[must_use]
    pub fn is_global(self) -> bool {
        self >= Self::Operator
    }
}

/// What sort of caller it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// A person or a program of theirs.
    User,
    /// Somebody on this machine who needs no credential.
    Dev,
    /// A cluster at its root.
    Cluster,
    /// A worker at its cluster.
    Worker,
    /// A bridge at its cluster.
    Bridge,
    /// A machine that has proven a key which this server does not know: it may join, and nothing else.
    Stranger,
    /// Nobody: no credential came with the call.
    Anonymous,
}

impl PrincipalKind {
    /// Its word in logs and in the audit.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Dev => "dev",
            Self::Cluster => "cluster",
            Self::Worker => "worker",
            Self::Bridge => "bridge",
            Self::Stranger => "stranger",
            Self::Anonymous => "anonymous",
        }
    }
}

impl fmt::Display for PrincipalKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// How a caller was identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// It was not.
    None,
    /// By where it called from: this machine, or anywhere under `--insecure`.
    Local,
    /// By a user token of this server.
    Token,
    /// By an ID token of an OpenID provider.
    Oidc,
    /// By a token that a machine signed with its own key.
    Machine,
}

impl Method {
    /// Its word in the audit.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Local => "local",
            Self::Token => "token",
            Self::Oidc => "oidc",
            Self::Machine => "machine",
        }
    }
}

/// A role, and where it holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// The namespace; `None` for all.
    pub namespace: Option<String>,
    /// What may be done there.
    pub role: Role,
}

impl Binding {
    /// A role in all namespaces.
    #[must_use]
    pub const fn everywhere(role: Role) -> Self {
        Self {
            namespace: None,
            role,
        }
    }

    /// A role in one namespace.
    #[must_use]
    pub fn within(namespace: impl Into<String>, role: Role) -> Self {
        Self {
            namespace: Some(namespace.into()),
            role,
        }
    }

    /// What it is worth: a role that is about more than namespaces, but bound to one, is that of its admin.
    fn effective(&self) -> Role {
        match self.namespace {
            Some(_) if self.role.is_global() => Role::NamespaceAdmin,
            Some(_) | None => self.role,
        }
    }
}

/// An identified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Unique among its kind and never another's: what ownership and the audit go by.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What sort of caller it is.
    pub kind: PrincipalKind,
    /// What it may do, and where. Machines have none: what they may do follows from what they are.
    pub bindings: Vec<Binding>,
    /// How it was identified.
    pub method: Method,
    /// The call that it made, for the audit. The chassis fills it in; who identifies a caller leaves it empty.
    pub call: CallInfo,
}

/// Which call it was and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallInfo {
    /// The call's id in logs; empty outside of a call.
    pub request_id: String,
    /// The address of the other end, if the transport has one.
    pub source: Option<SocketAddr>,
}

impl Principal {
    /// A machine that is known: what it may do follows from what it is.
    #[must_use]
    pub fn machine(kind: PrincipalKind, id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            kind,
            bindings: Vec::new(),
            method: Method::Machine,
            call: CallInfo::default(),
        }
    }

    /// Nobody.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            id: String::new(),
            name: "anonymous".to_owned(),
            kind: PrincipalKind::Anonymous,
            bindings: Vec::new(),
            method: Method::None,
            call: CallInfo::default(),
        }
    }

    /// The caller on this machine, with a configured role.
    #[must_use]
    pub fn dev(role: Role) -> Self {
        Self {
            id: "dev".to_owned(),
            name: "dev".to_owned(),
            kind: PrincipalKind::Dev,
            bindings: vec![Binding::everywhere(role)],
            method: Method::Local,
            call: CallInfo::default(),
        }
    }

    /// Its highest role in one namespace; `None` if it may not know that there is one.
    #[must_use]
    pub fn role_in(&self, namespace: &str) -> Option<Role> {
        let here = |binding: &&Binding| {
            let of = binding.namespace.as_deref();
            of.is_none_or(|of| of == namespace)
        };
        self.bindings
            .iter()
            .filter(here)
            .map(Binding::effective)
            .max()
    }

    /// Its highest role anywhere.
    #[must_use]
    pub fn highest_role(&self) -> Option<Role> {
        self.bindings.iter().map(Binding::effective).max()
    }

    /// Its highest role over all namespaces.
    #[must_use]
    pub fn role_everywhere(&self) -> Option<Role> {
        let all = self.bindings.iter().filter(|b| b.namespace.is_none());
        all.map(|binding| binding.role).max()
    }

    /// The namespaces that it may see, sorted; `None` for all.
    #[must_use]
    pub fn namespaces(&self) -> Option<Vec<String>> {
        if self.role_everywhere().is_some() {
            return None;
        }
        let own = self.bindings.iter().filter_map(|b| b.namespace.clone());
        let mut own: Vec<String> = own.collect();
        own.sort();
        own.dedup();
        Some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(bindings: Vec<Binding>) -> Principal {
        Principal {
            bindings,
            ..Principal::dev(Role::Viewer)
        }
    }

    #[test]
    fn roles_are_ordered_by_power() {
        assert!(Role::Viewer < Role::Deployer && Role::Operator < Role::Admin);
        assert_eq!("namespace-admin".parse(), Ok(Role::NamespaceAdmin));
    }

    #[test]
    fn a_role_holds_where_it_is_bound() {
        let who = bound(vec![
            Binding::within("shop", Role::Deployer),
            Binding::within("shop", Role::Viewer),
            Binding::within("lab", Role::Viewer),
        ]);
        assert_eq!(who.role_in("shop"), Some(Role::Deployer));
        assert_eq!(who.role_in("lab"), Some(Role::Viewer));
        assert_eq!(who.role_in("other"), None);
        assert_eq!(who.highest_role(), Some(Role::Deployer));
        assert_eq!(who.role_everywhere(), None);
        assert_eq!(
            who.namespaces(),
            Some(vec!["lab".to_owned(), "shop".to_owned()])
        );

        let who = bound(vec![
            Binding::everywhere(Role::Viewer),
            Binding::within("shop", Role::Deployer),
        ]);
        assert_eq!(who.role_in("other"), Some(Role::Viewer));
        assert_eq!(who.role_in("shop"), Some(Role::Deployer));
        assert_eq!(who.namespaces(), None);
        assert_eq!(Principal::anonymous().namespaces(), Some(Vec::new()));
    }

    #[test]
    fn nobody_is_an_operator_of_one_namespace() {
        let who = bound(vec![Binding::within("shop", Role::Admin)]);
        assert_eq!(who.highest_role(), Some(Role::NamespaceAdmin));
        assert_eq!(who.role_in("shop"), Some(Role::NamespaceAdmin));
    }
}
