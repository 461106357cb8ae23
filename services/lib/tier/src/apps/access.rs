//! Who may do what: the least role, and the one namespace of a caller that is bound to one.

use edgeio_domain::name::Name;
use edgeio_server::auth::{Principal, Role};

use super::AppError;

/// Whether `who` has at least this role.
///
/// # Errors
/// Names the role that is needed.
pub(crate) fn role(who: &Principal, needed: Role) -> Result<(), AppError> {
    if who.role >= needed {
        Ok(())
    } else {
        Err(AppError::Role {
            needed,
            has: who.role,
        })
    }
}

/// Whether `who` has at least this role, in this namespace.
///
/// # Errors
/// Names what is missing.
pub(crate) fn within(who: &Principal, needed: Role, namespace: &Name) -> Result<(), AppError> {
    role(who, needed)?;
    match &who.namespace {
        Some(own) if own != namespace.as_str() => Err(AppError::Namespace(own.clone())),
        Some(_) | None => Ok(()),
    }
}

/// The namespace that a list is about: the asked one, or the caller's own, or all.
///
/// # Errors
/// The asked one is not the caller's.
pub(crate) fn listed(
    who: &Principal,
    namespace: Option<&Name>,
) -> Result<Option<String>, AppError> {
    match namespace {
        Some(namespace) => {
            within(who, Role::Viewer, namespace)?;
            Ok(Some(namespace.to_string()))
        }
        None => {
            role(who, Role::Viewer)?;
            Ok(who.namespace.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeio_server::auth::PrincipalKind;

    use super::*;

    #[test]
    fn a_caller_stays_in_its_namespace_and_below_its_role() {
        let who = Principal {
            name: "ann".into(),
            kind: PrincipalKind::User,
            namespace: Some("shop".into()),
            role: Role::Deployer,
        };
        let (shop, other) = (Name::new("shop").unwrap(), Name::new("other").unwrap());
        assert!(within(&who, Role::Deployer, &shop).is_ok());
        assert!(matches!(
            within(&who, Role::Operator, &shop),
            Err(AppError::Role { .. })
        ));
        assert!(matches!(
            within(&who, Role::Viewer, &other),
            Err(AppError::Namespace(_))
        ));
        assert_eq!(listed(&who, None).unwrap(), Some("shop".to_owned()));
        assert!(listed(&who, Some(&other)).is_err());
    }
}
