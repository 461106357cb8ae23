//! Who may call which method: the rules beside the methods in the `.proto` files, read from the descriptor set.
//!
//! A rule is coarse: whether somebody may have anything to do with a method at all. Whether they may touch the object that
//! they name is the handler's to say. What has no rule is not served: a server that would serve it does not start. What is
//! open without a rule are health and reflection, which say nothing that the public contract does not.

use std::collections::HashMap;

use edgeio_proto::options::v1::{self as options, Machine, Scope};
use prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::{Principal, PrincipalKind, Role};
use crate::status::{Classify, Kind};

/// The option's name.
const OPTION: &str = "edgeio.options.v1.rule";

/// Why the rules cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The descriptor set is none, or has no such option.
    #[error("read the rules from the descriptor set: {0}")]
    Descriptors(String),
    /// A service that is to be served is not described.
    #[error("service {0} is not in the descriptor set: add its file to the proto crate")]
    Service(String),
    /// A method has no rule, or one that lets nobody in.
    #[error(
        "method {0} has no rule of who may call it: add `option (edgeio.options.v1.rule)` to it"
    )]
    NoRule(String),
}

/// Who may call one method: whoever meets one of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    role: Option<(Role, Scope)>,
    machines: Vec<PrincipalKind>,
    known: bool,
    open: bool,
    streams: bool,
}

/// Why somebody may not call a method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody, where somebody is needed.
    #[error(
        "this call needs a credential: log in with `edgeio login`, or send `authorization: Bearer TOKEN`"
    )]
    Unknown,
    /// Not high enough.
    #[error("this needs the role {needed}{}, the caller has {}", place(*.everywhere), role(*.has))]
    Role {
        /// The least role.
        needed: Role,
        /// It must hold in all namespaces.
        everywhere: bool,
        /// The caller's.
        has: Option<Role>,
    },
    /// It is for machines of another kind.
    #[error("a {0} may not call this")]
    Kind(PrincipalKind),
}

fn place(everywhere: bool) -> &'static str {
    if everywhere { " in all namespaces" } else { "" }
}

fn role(role: Option<Role>) -> String {
    role.map_or_else(|| "none".to_owned(), |role| role.to_string())
}

impl Classify for Refused {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown => Kind::Unauthenticated,
            Self::Role { .. } | Self::Kind(_) => Kind::Forbidden,
        }
    }
    fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "CREDENTIAL_MISSING",
            Self::Role { .. } => "ROLE_TOO_LOW",
            Self::Kind(_) => "CALLER_KIND_FORBIDDEN",
        }
    }
}

impl Rule {
    fn read(rule: &options::Rule, streams: bool) -> Option<Self> {
        let role = match rule.role() {
            options::Role::Unspecified => None,
            options::Role::Viewer => Some(Role::Viewer),
            options::Role::Deployer => Some(Role::Deployer),
            options::Role::NamespaceAdmin => Some(Role::NamespaceAdmin),
            options::Role::Operator => Some(Role::Operator),
            options::Role::Admin => Some(Role::Admin),
        };
        let kinds = rule.machines().map(|machine| match machine {
            Machine::Unspecified => None,
            Machine::Cluster => Some(PrincipalKind::Cluster),
            Machine::Worker => Some(PrincipalKind::Worker),
            Machine::Bridge => Some(PrincipalKind::Bridge),
            Machine::Stranger => Some(PrincipalKind::Stranger),
        });
        let rule = Self {
            role: role.map(|role| (role, rule.scope())),
            machines: kinds.flatten().collect(),
            known: rule.known,
            open: rule.open,
            streams,
        };
        let somebody = rule.role.is_some() || !rule.machines.is_empty() || rule.known || rule.open;
        somebody.then_some(rule)
    }

    /// Whether it is for who may do more than read.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.role.is_some_and(|(role, _)| role > Role::Viewer)
    }

    /// Whether the answer is a stream, which lasts.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.streams
    }

    /// Whether this caller may call.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn admit(&self, who: &Principal) -> Result<(), Refused> {
        if self.open {
            return Ok(());
        }
        if who.kind == PrincipalKind::Anonymous {
            return Err(Refused::Unknown);
        }
        if self.known || self.machines.contains(&who.kind) {
            return Ok(());
        }
        let Some((needed, scope)) = self.role else {
            return Err(Refused::Kind(who.kind));
        };
        let everywhere = scope == Scope::Unspecified;
        let has = if everywhere {
            who.role_everywhere()
        } else {
            who.highest_role()
        };
        if has >= Some(needed) {
            return Ok(());
        }
        if has.is_none() && !matches!(who.kind, PrincipalKind::User | PrincipalKind::Dev) {
            return Err(Refused::Kind(who.kind));
        }
        Err(Refused::Role {
            needed,
            everywhere,
            has,
        })
    }
}

/// The rules of everything that a server serves, by the path of a call.
#[derive(Clone, Debug, Default)]
pub struct Rules(HashMap<String, Rule>);

impl Rules {
    /// Of all methods of these services.
    ///
    /// # Errors
    /// Names a service or a method that cannot be served.
    pub fn of<'a>(services: impl IntoIterator<Item = &'a str>) -> Result<Self, RulesError> {
        let wrong = |error: &dyn std::fmt::Display| RulesError::Descriptors(error.to_string());
        let pool = DescriptorPool::decode(edgeio_proto::FILE_DESCRIPTOR_SET)
            .map_err(|error| wrong(&error))?;
        let option = pool
            .get_extension_by_name(OPTION)
            .ok_or_else(|| wrong(&"the option is not declared"))?;
        let read = |method: &MethodDescriptor| {
            let options = method.options();
            if !options.has_extension(&option) {
                return None;
            }
            let value = options.get_extension(&option);
            let bytes = value.as_message()?.encode_to_vec();
            let rule = options::Rule::decode(bytes.as_slice()).ok()?;
            Rule::read(&rule, method.is_server_streaming())
        };
        let mut rules = HashMap::new();
        for name in services {
            let service = pool
                .get_service_by_name(name)
                .ok_or_else(|| RulesError::Service(name.to_owned()))?;
            for method in service.methods() {
                let rule = read(&method)
                    .ok_or_else(|| RulesError::NoRule(method.full_name().to_owned()))?;
                rules.insert(format!("/{name}/{}", method.name()), rule);
            }
        }
        Ok(Self(rules))
    }

    /// The rule of a call; `None` for what is not served.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Rule> {
        self.0.get(path)
    }

    /// All paths, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = self.0.keys().map(String::as_str).collect();
        paths.sort_unstable();
        paths
    }
}

#[cfg(test)]
mod tests {
    use super::super::Binding;
    use super::*;

    fn rule(role: Option<(Role, Scope)>, machines: &[PrincipalKind]) -> Rule {
        Rule {
            role,
            machines: machines.to_vec(),
            known: false,
            open: false,
            streams: false,
        }
    }

    fn bound(binding: Binding) -> Principal {
        Principal {
            bindings: vec![binding],
            kind: PrincipalKind::User,
            ..Principal::dev(Role::Viewer)
        }
    }

    #[test]
    fn every_method_of_every_service_has_a_rule() {
        let pool = DescriptorPool::decode(edgeio_proto::FILE_DESCRIPTOR_SET).unwrap();
        let names: Vec<String> = pool
            .services()
            .map(|service| service.full_name().to_owned())
            .collect();
        assert!(names.len() >= 5, "{names:?}");
        let rules = Rules::of(names.iter().map(String::as_str)).unwrap();
        let methods = pool.services().map(|service| service.methods().len());
        assert_eq!(rules.paths().len(), methods.sum::<usize>());
        let apply = rules
            .get("/edgeio.api.v1.ApplicationService/Apply")
            .unwrap();
        assert_eq!(apply.role, Some((Role::Deployer, Scope::Namespace)));
        assert!(apply.changes() && !apply.streams());
        let watch = rules
            .get("/edgeio.api.v1.ApplicationService/Watch")
            .unwrap();
        assert!(watch.streams() && !watch.changes());
    }

    #[test]
    fn what_drivers_serve_can_be_served_by_no_server_of_ours() {
        let driver = "edgeio.runtime.v1.DriverService";
        let error = Rules::of([driver]).unwrap_err();
        assert!(matches!(error, RulesError::Service(name) if name == driver));
    }

    #[test]
    fn what_has_no_rule_is_named_and_not_served() {
        let error = Rules::of(["edgeio.api.v1.NoService"]).unwrap_err();
        assert!(error.to_string().contains("edgeio.api.v1.NoService"));
        // One that is described without a rule: health has none of ours.
        assert_eq!(Rule::read(&options::Rule::default(), false), None);
    }

    #[test]
    fn a_role_holds_where_the_rule_asks_for_it() {
        let everywhere = rule(Some((Role::Operator, Scope::Unspecified)), &[]);
        let somewhere = rule(Some((Role::Deployer, Scope::Namespace)), &[]);
        let deployer = bound(Binding::within("shop", Role::Deployer));
        assert!(somewhere.admit(&deployer).is_ok());
        let viewer = bound(Binding::within("shop", Role::Viewer));
        assert!(matches!(
            somewhere.admit(&viewer),
            Err(Refused::Role {
                has: Some(Role::Viewer),
                ..
            })
        ));
        for binding in [
            Binding::within("shop", Role::Admin),
            Binding::everywhere(Role::NamespaceAdmin),
        ] {
            assert!(everywhere.admit(&bound(binding)).is_err());
        }
        assert!(everywhere.admit(&Principal::dev(Role::Operator)).is_ok());
    }

    #[test]
    fn nobody_and_other_machines_are_refused() {
        let rule = rule(
            Some((Role::Operator, Scope::Unspecified)),
            &[PrincipalKind::Worker],
        );
        let anonymous = rule.admit(&Principal::anonymous());
        assert_eq!(anonymous, Err(Refused::Unknown));
        let machine = |kind| Principal::machine(kind, "7", "w");
        assert!(rule.admit(&machine(PrincipalKind::Worker)).is_ok());
        let bridge = rule.admit(&machine(PrincipalKind::Bridge));
        assert_eq!(bridge, Err(Refused::Kind(PrincipalKind::Bridge)));
        let open = Rule {
            open: true,
            ..rule.clone()
        };
        assert!(open.admit(&Principal::anonymous()).is_ok());
        let known = Rule {
            known: true,
            ..rule
        };
        assert!(known.admit(&machine(PrincipalKind::Bridge)).is_ok());
        assert!(known.admit(&Principal::anonymous()).is_err());
    }
}
