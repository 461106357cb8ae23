//! Apply: creates an application or changes it.

use edgeio_domain::{
    ids::AppUid,
    records::{AppKey, Application, Event, Service},
    spec::Terms,
    time::Time,
    violation::Violations,
};
use edgeio_proto::api::v1;
use edgeio_store::{ReadTx, Write};

use super::{AppError, Apply, Apps, show::Specs};
use crate::access::{Target, namespaces, quota};

/// What an Apply comes to.
pub(crate) struct Outcome {
    /// The application before; `None` if it is new.
    pub(crate) before: Option<Application>,
    /// The application after.
    pub(crate) after: Application,
    /// Its namespace is not there yet, and the caller may make it.
    makes_namespace: bool,
}

impl Outcome {
    fn changed(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }
}

impl Apps {
    /// Applies a manifest, or answers what would follow from it. Durable when it answers.
    ///
    /// # Errors
    /// Says why the application cannot be changed so; nothing was stored then.
    pub async fn apply(&self, command: Apply) -> Result<v1::ApplyResponse, AppError> {
        if command.validate_only {
            return self.preview(command).await;
        }
        let mut tx = self.store.write().await?;
        let before = self.replay(&*tx, &command.key, &command.named).await?;
        if let Some(answer) = before {
            return Ok(answer);
        }
        let now = self.clock.wall();
        let outcome = self.decide(&*tx, &command, now).await?;
        if outcome.changed() {
            let after = &outcome.after;
            if outcome.makes_namespace {
                let namespace = namespaces::fresh(&after.key.namespace, now);
                tracing::info!(namespace = %namespace.name, by = %command.by, "namespace made by its first application");
                tx.stage(Write::PutNamespace(namespace));
            }
            for service in &command.services {
                tx.stage(Write::PutSpec(service.hash, service.body.clone()));
            }
            tx.stage(Write::PutApplication(after.clone()));
            tx.stage(Write::PutEvent(Event {
                at: now,
                namespace: after.key.namespace.to_string(),
                subject: format!("application/{}", after.key.name),
                reason: "Applied".to_owned(),
                message: format!("version {} was applied by {}", after.version, command.by),
            }));
        }
        let application = self
            .describe(&*tx, &outcome.after, &Specs::of(&command.services))
            .await?;
        let answer = v1::ApplyResponse {
            application: Some(application),
            plan: Vec::new(),
        };
        let target = {
            let key = &outcome.after.key;
            Target::new("application", &key.name, key.namespace.as_str())
                .with(format!("version {}", outcome.after.version))
        };
        let kept = command.key.commit(&*self.store, tx, target, &answer, now);
        let revision = kept.await?;
        tracing::info!(
            namespace = %outcome.after.key.namespace,
            app = %outcome.after.key.name,
            version = outcome.after.version,
            revision,
            changed = outcome.changed(),
            "application applied"
        );
        Ok(answer)
    }

    /// What the application becomes; stores nothing. An absent number of replicas keeps the scaled one.
    pub(crate) async fn decide(
        &self,
        tx: &dyn ReadTx,
        command: &Apply,
        now: Time,
    ) -> Result<Outcome, AppError> {
        self.admit(command)?;
        let namespace = tx.namespace(command.named.namespace.as_str()).await?;
        if namespace.is_none() && !command.may_make_namespace {
            let name = command.named.namespace.as_str();
            return Err(AppError::not_found("namespace", name));
        }
        let before = self.own_or_new(tx, &command.named).await?;
        self.may_change(tx, before.as_ref(), command.expected_version)
            .await?;
        let kept = |service: &super::manifest::Checked| {
            let known = before.as_ref()?;
            let same = known.services.iter().find(|old| old.name == service.name)?;
            Some(same.replicas)
        };
        let services: Vec<Service> = command
            .services
            .iter()
            .map(|service| Service {
                name: service.name.clone(),
                replicas: service.replicas.or_else(|| kept(service)).unwrap_or(1),
                spec_hash: service.hash,
            })
            .collect();
        let after = match &before {
            Some(before) if before.services == services => before.clone(),
            Some(before) => Application {
                version: before.version + 1,
                services,
                ..before.clone()
            },
            None => Application {
                key: AppKey {
                    owner: self.scope.own,
                    namespace: command.named.namespace.clone(),
                    name: command.named.name.clone(),
                },
                uid: AppUid(self.ids.next()),
                version: 1,
                services,
                deleted_at: None,
                created_at: now,
                revision: 0,
            },
        };
        if before.as_ref() != Some(&after) {
            let quota = namespace.as_ref().map(|one| one.quota).unwrap_or_default();
            let fresh = Specs::of(&command.services);
            quota::check(tx, &quota, before.as_ref(), &after, &fresh).await?;
        }
        Ok(Outcome {
            before,
            after,
            makes_namespace: namespace.is_none(),
        })
    }

    /// Refuses an exclusive service that would still run when its replacement may start.
    fn admit(&self, command: &Apply) -> Result<(), AppError> {
        let mut faults = Violations::default();
        let (lease, replace_after) = (self.times.lease, self.times.replace_after);
        for (index, service) in command.services.iter().enumerate() {
            let terms = Terms {
                disconnect: service.spec.disconnect,
                stop_grace: service.spec.stop_grace,
            };
            let Some(stopped) = terms.surely_stopped_after(lease) else {
                continue;
            };
            if stopped > replace_after {
                faults.add(
                    format!("application.services[{index}].disconnect.stop_after"),
                    format!(
                        "is too long: with a quarter for clocks, stop_grace and a lease of {lease:?} the instance has stopped after {stopped:?}, but is replaced after {replace_after:?}; make it or stop_grace shorter, or set a longer replace_after in this server's configuration"
                    ),
                );
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(AppError::Invalid(faults.into_vec()))
        }
    }
}
