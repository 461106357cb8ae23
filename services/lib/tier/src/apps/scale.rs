//! Scale: sets the number of replicas of one service.

use edgeio_domain::{
    name::Name,
    records::{Application, Event},
    spec::MAX_REPLICAS,
    violation::Violations,
};
use edgeio_proto::api::v1;
use edgeio_server::auth::{Principal, Role};
use edgeio_store::Write;

use super::{AppError, Apps, Named, RequestKey, access, find, show::Specs};
use crate::access::{Target, quota};

/// A checked Scale.
#[derive(Clone, Debug)]
pub struct Scale {
    key: RequestKey,
    named: Named,
    service: Option<Name>,
    replicas: u32,
    expected_version: u64,
    by: String,
}

impl Scale {
    /// Checks a request.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse(who: &Principal, mut request: v1::ScaleRequest) -> Result<Self, AppError> {
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "Scale", id, &request, &mut faults);
        let named = Named::check("", &request.namespace, &request.name, &mut faults);
        let service = find::optional("service", &request.service, &mut faults);
        if request.replicas > MAX_REPLICAS {
            faults.add("replicas", format!("must be from 0 to {MAX_REPLICAS}"));
        }
        let (Some(named), true) = (named, faults.is_empty()) else {
            return Err(AppError::Invalid(faults.into_vec()));
        };
        access::within(who, Role::Deployer, &named.namespace)?;
        Ok(Self {
            key,
            named,
            service,
            replicas: request.replicas,
            expected_version: request.expected_version,
            by: who.name.clone(),
        })
    }

    /// The index of the service that is meant.
    fn pick(&self, application: &Application) -> Result<usize, AppError> {
        let services = &application.services;
        match &self.service {
            Some(name) => services
                .iter()
                .position(|service| service.name == *name)
                .ok_or_else(|| AppError::not_found("service", name.as_str())),
            None if services.len() == 1 => Ok(0),
            None => {
                let names: Vec<&str> = services.iter().map(|s| s.name.as_str()).collect();
                Err(AppError::field(
                    "service",
                    format!("is required, one of: {}", names.join(", ")),
                ))
            }
        }
    }
}

impl Apps {
    /// Sets a number of replicas. Durable when it answers.
    ///
    /// # Errors
    /// Says why it cannot; nothing was stored then.
    pub async fn scale(&self, command: Scale) -> Result<v1::ScaleResponse, AppError> {
        let mut tx = self.store.write().await?;
        let before = self.replay(&*tx, &command.key, &command.named).await?;
        if let Some(answer) = before {
            return Ok(answer);
        }
        let now = self.clock.wall();
        let before = self
            .own(&*tx, &command.named)
            .await?
            .ok_or_else(|| AppError::not_found("application", command.named.name.as_str()))?;
        self.may_change(&*tx, Some(&before), command.expected_version)
            .await?;
        let at = command.pick(&before)?;
        let mut after = before.clone();
        let mut change = None;
        if let Some(service) = after.services.get_mut(at)
            && service.replicas != command.replicas
        {
            change = Some(format!(
                "service {} was scaled from {} to {} by {}",
                service.name, service.replicas, command.replicas, command.by
            ));
            service.replicas = command.replicas;
        }
        if let Some(message) = change {
            let namespace = tx.namespace(after.key.namespace.as_str()).await?;
            let quota = namespace.map(|one| one.quota).unwrap_or_default();
            quota::check(&*tx, &quota, Some(&before), &after, &Specs::default()).await?;
            after.version += 1;
            tx.stage(Write::PutApplication(after.clone()));
            tx.stage(Write::PutEvent(Event {
                at: now,
                namespace: after.key.namespace.to_string(),
                subject: format!("application/{}", after.key.name),
                reason: "Scaled".to_owned(),
                message,
            }));
        }
        let answer = v1::ScaleResponse {
            application: Some(self.describe(&*tx, &after, &Specs::default()).await?),
        };
        let target = Target::new("application", &after.key.name, after.key.namespace.as_str())
            .with(format!("{} replicas", command.replicas));
        let kept = command.key.commit(&*self.store, tx, target, &answer, now);
        kept.await?;
        tracing::info!(
            namespace = %after.key.namespace,
            app = %after.key.name,
            version = after.version,
            replicas = command.replicas,
            "application scaled"
        );
        Ok(answer)
    }
}
