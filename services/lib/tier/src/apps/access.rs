//! Who may do what: the least role, and the namespaces that a caller may know of.
//!
//! What a caller may not see it is not told of: another's namespace is as unknown as one that is not there.

use edgeio_domain::name::Name;
use edgeio_server::auth::{Principal, Role};

use super::AppError;

/// Whether `who` has at least this role somewhere: for what belongs to no namespace.
///
/// # Errors
/// Names the role that is needed.
pub(crate) fn role(who: &Principal, needed: Role) -> Result<(), AppError> {
    let has = who.highest_role();
    if has >= Some(needed) {
        Ok(())
    } else {
        Err(AppError::Role { needed, has })
    }
}

/// Whether `who` has at least this role, in this namespace.
///
/// # Errors
/// Names what is missing; a namespace of which the caller may not know is not there.
pub(crate) fn within(who: &Principal, needed: Role, namespace: &Name) -> Result<(), AppError> {
    let has = who.role_in(namespace.as_str());
    if has >= Some(needed) {
        return Ok(());
    }
    if has.is_none() && who.highest_role().is_some() {
        return Err(AppError::not_found("namespace", namespace.as_str()));
    }
    Err(AppError::Role { needed, has })
}

/// The namespaces that a list is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen(Option<Vec<String>>);

impl Seen {
    /// Whether this one is among them.
    pub(crate) fn covers(&self, namespace: &str) -> bool {
        let of = self.0.as_ref();
        of.is_none_or(|of| of.iter().any(|one| one == namespace))
    }

    /// As filters of the store want it: `None` for all.
    pub(crate) fn filter(&self) -> Option<Vec<String>> {
        self.0.clone()
    }
}

/// The namespaces that a list is about: the asked one, or the caller's own, or all.
///
/// # Errors
/// The asked one is not the caller's.
pub(crate) fn listed(who: &Principal, namespace: Option<&Name>) -> Result<Seen, AppError> {
    match namespace {
        Some(namespace) => {
            within(who, Role::Viewer, namespace)?;
            Ok(Seen(Some(vec![namespace.to_string()])))
        }
        None => {
            role(who, Role::Viewer)?;
            Ok(Seen(who.namespaces()))
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeio_server::auth::Binding;

    use super::*;

    #[test]
    fn a_caller_stays_in_its_namespaces_and_below_its_role() {
        let who = Principal {
            bindings: vec![
                Binding::within("shop", Role::Deployer),
                Binding::within("lab", Role::Viewer),
            ],
            ..Principal::dev(Role::Viewer)
        };
        let name = |name| Name::new(name).unwrap();
        assert!(within(&who, Role::Deployer, &name("shop")).is_ok());
        for (needed, namespace) in [(Role::Operator, "shop"), (Role::Deployer, "lab")] {
            let error = within(&who, needed, &name(namespace)).unwrap_err();
            assert!(matches!(error, AppError::Role { has: Some(_), .. }));
        }
        assert!(matches!(
            within(&who, Role::Viewer, &name("other")),
            Err(AppError::NotFound { .. })
        ));
        let seen = listed(&who, None).unwrap();
        assert!(seen.covers("shop") && seen.covers("lab") && !seen.covers("other"));
        assert!(listed(&who, Some(&name("other"))).is_err());
        let one = listed(&who, Some(&name("lab"))).unwrap();
        assert!(one.covers("lab") && !one.covers("shop"));
        let all = listed(&Principal::dev(Role::Viewer), None).unwrap();
        assert_eq!(all.filter(), None);
    }
}
