//! Digests by which two sides of a link find that they agree without sending anything.
//!
//! Each is SHA-256 over the sorted entries, cut to 16 bytes. Entries are written with fixed widths, so that no two lists
//! have the same bytes.

use sha2::{Digest, Sha256};

use crate::{
    ids::AssignmentId,
    lifecycle::Phase,
    records::{Application, Desired},
};

/// Half of SHA-256: collisions by chance are out of reach, and a heartbeat stays small.
pub type Digest16 = [u8; 16];

/// Digest of what a child is assigned and shall have: RUN and PAUSE entries only, since a STOP ends by an acknowledgement
/// of its own.
#[must_use]
pub fn assignments(
    entries: impl IntoIterator<Item = (AssignmentId, u64, Desired, u32)>,
) -> Digest16 {
    let mut list: Vec<_> = entries
        .into_iter()
        .filter(|(_, _, desired, _)| matches!(desired, Desired::Run | Desired::Pause))
        .collect();
    list.sort_unstable();
    let mut hash = Sha256::new();
    for (id, generation, desired, restarts) in list {
        hash.update(id.0.as_bytes());
        hash.update(generation.to_be_bytes());
        hash.update([u8::from(desired == Desired::Pause)]);
        hash.update(restarts.to_be_bytes());
    }
    cut(hash)
}

/// Digest of the states that a child reports.
#[must_use]
pub fn states(entries: impl IntoIterator<Item = (AssignmentId, Phase, u32)>) -> Digest16 {
    let mut list: Vec<_> = entries.into_iter().collect();
    list.sort_unstable();
    let mut hash = Sha256::new();
    for (id, phase, restarts) in list {
        hash.update(id.0.as_bytes());
        hash.update([phase as u8]);
        hash.update(restarts.to_be_bytes());
    }
    cut(hash)
}

/// Digest of the applications that a child owns: uid, version, services, and whether it is deleted. Namespace and name never
/// change under one uid.
#[must_use]
pub fn applications<'a>(entries: impl IntoIterator<Item = &'a Application>) -> Digest16 {
    let mut list: Vec<&Application> = entries.into_iter().collect();
    list.sort_unstable_by_key(|application| application.uid);
    let mut hash = Sha256::new();
    for application in list {
        hash.update(application.uid.0.as_bytes());
        hash.update(application.version.to_be_bytes());
        hash.update([u8::from(application.deleted_at.is_some())]);
        hash.update((application.services.len() as u64).to_be_bytes());
        for service in &application.services {
            let name = service.name.as_str();
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
            hash.update(service.replicas.to_be_bytes());
            hash.update(service.spec_hash.0);
        }
    }
    cut(hash)
}

fn cut(hash: Sha256) -> Digest16 {
    let full: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        ids::{AppUid, SpecHash},
        name::Name,
        records::{AppKey, Owner, Service},
        time::Time,
    };

    fn id(n: u128) -> AssignmentId {
        AssignmentId(Uuid::from_u128(n))
    }

    fn application(n: u128) -> Application {
        let name = Name::new("a").unwrap();
        Application {
            key: AppKey {
                owner: Owner::Root,
                namespace: name.clone(),
                name: name.clone(),
            },
            uid: AppUid(Uuid::from_u128(n)),
            version: 1,
            services: vec![Service {
                name,
                replicas: 1,
                spec_hash: SpecHash([1; 32]),
            }],
            deleted_at: None,
            created_at: Time(0),
            revision: 0,
        }
    }

    #[test]
    fn what_users_change_of_an_application_changes_the_digest_and_nothing_else_does() {
        let (a, b) = (application(1), application(2));
        assert_eq!(applications([&a, &b]), applications([&b, &a]));
        let mut others = vec![application(3)];
        let mut change = |with: fn(&mut Application)| {
            let mut other = application(1);
            with(&mut other);
            others.push(other);
        };
        change(|app| app.version = 2);
        change(|app| app.deleted_at = Some(Time(1)));
        change(|app| app.services.clear());
        change(|app| app.services.push(app.services[0].clone()));
        change(|app| app.services[0].replicas = 2);
        change(|app| app.services[0].spec_hash = SpecHash([2; 32]));
        change(|app| app.services[0].name = Name::new("b").unwrap());
        for other in &others {
            assert_ne!(applications([&a]), applications([other]), "{other:?}");
        }
        let later = Application {
            created_at: Time(9),
            revision: 9,
            ..application(1)
        };
        assert_eq!(applications([&a]), applications([&later]));
    }

    #[test]
    fn order_is_irrelevant_and_every_field_counts() {
        let a = (id(1), 1, Desired::Run, 0);
        let b = (id(2), 1, Desired::Run, 0);
        assert_eq!(assignments([a, b]), assignments([b, a]));
        for other in [
            (id(3), 1, Desired::Run, 0),
            (id(1), 2, Desired::Run, 0),
            (id(1), 1, Desired::Pause, 0),
            (id(1), 1, Desired::Run, 1),
        ] {
            assert_ne!(assignments([a]), assignments([other]));
        }
        assert_eq!(
            assignments([a, (id(9), 4, Desired::Stop, 0)]),
            assignments([a])
        );
        assert_ne!(
            states([(id(1), Phase::Running, 0)]),
            states([(id(1), Phase::Running, 1)])
        );
        assert_ne!(
            states([(id(1), Phase::Running, 0)]),
            states([(id(1), Phase::Paused, 0)])
        );
    }
}
