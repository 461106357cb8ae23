//! Names in requests, and the applications that they mean.

use edgeio_domain::{
    name::Name,
    records::{Application, Owner},
    violation::Violations,
};
use edgeio_proto::api::v1;
use edgeio_store::{ApplicationFilter, AssignmentFilter, ReadTx, SlotFilter};

use super::{AppError, Apps, show::Picture};

/// The namespace of a request that names none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// What names an application in a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// Namespace.
    pub namespace: Name,
    /// Name.
    pub name: Name,
}

impl Named {
    /// Checks both; the paths of faults begin with `path`.
    pub(crate) fn check(
        path: &str,
        namespace: &str,
        name: &str,
        faults: &mut Violations,
    ) -> Option<Self> {
        let namespace = if namespace.is_empty() {
            DEFAULT_NAMESPACE
        } else {
            namespace
        };
        let namespace = faults.check(&format!("{path}namespace"), Name::new(namespace));
        let name = faults.check(&format!("{path}name"), Name::new(name));
        Some(Self {
            namespace: namespace?,
            name: name?,
        })
    }

    /// Of a Get.
    ///
    /// # Errors
    /// Names the fields that are wrong.
    pub fn parse(request: &v1::GetRequest) -> Result<Self, AppError> {
        let mut faults = Violations::default();
        let named = Self::check("", &request.namespace, &request.name, &mut faults);
        named.ok_or_else(|| AppError::Invalid(faults.into_vec()))
    }
}

/// A name that may be absent, which means all.
pub(crate) fn optional(path: &str, text: &str, faults: &mut Violations) -> Option<Name> {
    if text.is_empty() {
        return None;
    }
    faults.check(path, Name::new(text))
}

/// What a name means here.
pub(crate) enum Found {
    /// An application of this tier.
    Own(Application),
    /// One of another tier, or, at the root, of each of these clusters.
    Foreign(Vec<Owner>),
    /// None.
    Nothing,
}

impl Apps {
    /// What a name means here. Slots tell of another tier's application too: its record may not have come yet.
    pub(crate) async fn find(&self, tx: &dyn ReadTx, named: &Named) -> Result<Found, AppError> {
        let filter = ApplicationFilter {
            namespace: Some(named.namespace.to_string()),
            name: Some(named.name.to_string()),
            ..ApplicationFilter::default()
        };
        let mut all = tx.applications(&filter).await?;
        if let Some(at) = all.iter().position(|app| app.key.owner == self.scope.own) {
            return Ok(Found::Own(all.swap_remove(at)));
        }
        if !all.is_empty() {
            let owners = all.iter().map(|app| app.key.owner);
            return Ok(Found::Foreign(owners.collect()));
        }
        let filter = SlotFilter {
            namespace: Some(named.namespace.to_string()),
            application: Some(named.name.to_string()),
            ..SlotFilter::default()
        };
        let slots = tx.slots(&filter).await?;
        let other = slots
            .iter()
            .map(|slot| slot.app.owner)
            .find(|owner| *owner != self.scope.own);
        Ok(other.map_or(Found::Nothing, |owner| Found::Foreign(vec![owner])))
    }

    /// The application of this tier, or `None`.
    ///
    /// # Errors
    /// It is another tier's.
    pub(crate) async fn own(
        &self,
        tx: &dyn ReadTx,
        named: &Named,
    ) -> Result<Option<Application>, AppError> {
        match self.find(tx, named).await? {
            Found::Own(application) => Ok(Some(application)),
            Found::Nothing => Ok(None),
            Found::Foreign(owners) => {
                let picture = Picture::load(&self.scope, tx).await?;
                Err(AppError::OwnedElsewhere {
                    name: named.name.to_string(),
                    owner: picture.owners(&owners),
                    remedy: picture.remedy(&owners),
                })
            }
        }
    }

    /// The application of this tier that an Apply changes, or `None` if it makes one. At the root a name that only
    /// clusters have is free: owner and name together are the key, and no cluster can keep a name from the root. At a
    /// cluster the root's name is not: there one would take what the other rolls out for its own.
    ///
    /// # Errors
    /// It is the root's.
    pub(crate) async fn own_or_new(
        &self,
        tx: &dyn ReadTx,
        named: &Named,
    ) -> Result<Option<Application>, AppError> {
        match self.own(tx, named).await {
            Err(AppError::OwnedElsewhere { .. }) if self.scope.own == Owner::Root => Ok(None),
            found => found,
        }
    }

    /// Refuses a change of an application that is being deleted, or of another version than expected.
    pub(crate) async fn may_change(
        &self,
        tx: &dyn ReadTx,
        application: Option<&Application>,
        expected_version: u64,
    ) -> Result<(), AppError> {
        if let Some(application) = application.filter(|app| app.deleted_at.is_some()) {
            let filter = AssignmentFilter {
                uid: Some(application.uid),
                ..AssignmentFilter::default()
            };
            let left = tx.assignments(&filter).await?;
            let picture = Picture::load(&self.scope, tx).await?;
            return Err(AppError::Deleting {
                name: application.key.name.to_string(),
                waiting_for: picture.waiting_for(&left),
            });
        }
        let current = application.map_or(0, |app| app.version);
        if expected_version != 0 && expected_version != current {
            return Err(AppError::VersionMismatch {
                expected: expected_version,
                current,
            });
        }
        Ok(())
    }
}
