//! The applications that the cluster owns itself, as they are told up.

use std::collections::BTreeMap;

use edgeio_domain::{
    digest::{self, Digest16},
    ids::AppUid,
    records::{Application, Service},
    time::Time,
};
use edgeio_link::reports::StateVersion;
use edgeio_proto::link::v1;

/// All of them, each with the version of what is told of it.
#[derive(Default)]
pub(super) struct Applications {
    known: BTreeMap<AppUid, (Application, StateVersion)>,
    /// What is no more, and was not handed out yet.
    lost: Vec<v1::OwnedApplication>,
    version: StateVersion,
}

impl Applications {
    /// These are all.
    pub(super) fn refresh(&mut self, applications: Vec<Application>) {
        let mut before = std::mem::take(&mut self.known);
        for application in applications {
            let version = match before.remove(&application.uid) {
                Some((old, version)) if same(&old, &application) => version,
                Some(_) | None => {
                    self.version += 1;
                    self.version
                }
            };
            self.known.insert(application.uid, (application, version));
        }
        let gone = before.into_keys().map(|uid| v1::OwnedApplication {
            uid: uid.to_string(),
            gone: true,
            ..Default::default()
        });
        self.lost.extend(gone);
    }

    /// The root does not hear of them in this session.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.lost.clear();
    }

    /// What is no more; each is handed out once.
    pub(super) fn lost(&mut self) -> Vec<v1::OwnedApplication> {
        std::mem::take(&mut self.lost)
    }

    pub(super) fn versions(&self) -> Vec<(AppUid, StateVersion)> {
        let versions = self.known.iter();
        versions
            .map(|(uid, (_, version))| (*uid, *version))
            .collect()
    }

    pub(super) fn digest(&self) -> Digest16 {
        digest::applications(self.known.values().map(|(application, _)| application))
    }

    pub(super) fn render(&self, uid: AppUid, now: Time) -> Option<v1::OwnedApplication> {
        let (application, _) = self.known.get(&uid)?;
        let service = |service: &Service| v1::OwnedService {
            name: service.name.to_string(),
            replicas: service.replicas,
            spec_hash: service.spec_hash.0.to_vec(),
        };
        Some(v1::OwnedApplication {
            uid: uid.to_string(),
            namespace: application.key.namespace.to_string(),
            name: application.key.name.to_string(),
            version: application.version,
            services: application.services.iter().map(service).collect(),
            deleting: application.deleted_at.is_some(),
            gone: false,
            age_ms: u64::try_from(now.since(application.created_at).as_millis()).unwrap_or(0),
        })
    }
}

/// Whether the root would be told the same.
fn same(a: &Application, b: &Application) -> bool {
    let told = |a: &Application| (a.version, a.deleted_at.is_some());
    told(a) == told(b) && a.services == b.services
}
