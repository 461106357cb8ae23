//! Delete: the wish is durable at once; the name is free when every child has acknowledged.

use edgeio_domain::{
    records::{Assignment, Event},
    time::Time,
    violation::Violations,
};
use edgeio_proto::api::v1;
use edgeio_server::auth::{Principal, Role};
use edgeio_store::{AssignmentFilter, SlotFilter, Write, WriteTx};

use super::{
    AppError, Apps, Named, RequestKey, access,
    show::{Picture, Specs},
};
use crate::access::Target;

/// A checked Delete.
#[derive(Clone, Debug)]
pub struct Delete {
    key: RequestKey,
    named: Named,
    force: bool,
    expected_version: u64,
    by: String,
}

impl Delete {
    /// Checks a request.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse(who: &Principal, mut request: v1::DeleteRequest) -> Result<Self, AppError> {
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "Delete", id, &request, &mut faults);
        let named = Named::check("", &request.namespace, &request.name, &mut faults);
        let (Some(named), true) = (named, faults.is_empty()) else {
            return Err(AppError::Invalid(faults.into_vec()));
        };
        access::within(who, Role::Deployer, &named.namespace)?;
        Ok(Self {
            key,
            named,
            force: request.force,
            expected_version: request.expected_version,
            by: who.name.clone(),
        })
    }
}

impl Apps {
    /// Deletes an application; again it changes nothing. By force, what runs at children that are not heard is given
    /// up: it is recorded, and told to stop should they return.
    ///
    /// # Errors
    /// Says why it cannot; nothing was stored then.
    pub async fn delete(&self, command: Delete) -> Result<v1::DeleteResponse, AppError> {
        let mut tx = self.store.write().await?;
        let before = self.replay(&*tx, &command.key, &command.named).await?;
        if let Some(answer) = before {
            return Ok(answer);
        }
        let now = self.clock.wall();
        let mut application = self
            .own(&*tx, &command.named)
            .await?
            .ok_or_else(|| AppError::not_found("application", command.named.name.as_str()))?;
        if application.deleted_at.is_none() {
            self.may_change(&*tx, Some(&application), command.expected_version)
                .await?;
            application.deleted_at = Some(now);
            application.version += 1;
            tx.stage(Write::PutApplication(application.clone()));
            tx.stage(Write::PutEvent(Event {
                at: now,
                namespace: application.key.namespace.to_string(),
                subject: format!("application/{}", application.key.name),
                reason: "Deleted".to_owned(),
                message: format!("its deletion was asked for by {}", command.by),
            }));
        }
        let slots = tx
            .slots(&SlotFilter {
                uid: Some(application.uid),
                ..SlotFilter::default()
            })
            .await?;
        let assignments = tx
            .assignments(&AssignmentFilter {
                uid: Some(application.uid),
                ..AssignmentFilter::default()
            })
            .await?;
        let picture = Picture::load(&self.scope, &*tx).await?;
        let (abandoned, left): (Vec<Assignment>, Vec<Assignment>) = assignments
            .into_iter()
            .partition(|assignment| command.force && !picture.hears(assignment.child));
        for assignment in &abandoned {
            abandon(&mut *tx, assignment, &picture, now);
        }
        let specs = Specs::load(&*tx, [&application]).await?;
        let answer = v1::DeleteResponse {
            application: Some(picture.application(&application, &specs, &slots, &left)),
            abandoned: abandoned
                .iter()
                .map(|assignment| {
                    let slot = slots.iter().find(|slot| slot.id == assignment.slot);
                    let mut instance = picture.of_assignment(slot, assignment);
                    // It says what is given up; thousands of outputs would not fit into an answer.
                    instance.output_tail.clear();
                    instance
                })
                .collect(),
        };
        let target = Target::new(
            "application",
            &application.key.name,
            application.key.namespace.as_str(),
        );
        let kept = command.key.commit(&*self.store, tx, target, &answer, now);
        kept.await?;
        tracing::info!(
            namespace = %application.key.namespace,
            app = %application.key.name,
            abandoned = abandoned.len(),
            left = left.len(),
            "application deleted"
        );
        Ok(answer)
    }
}

/// Gives an assignment up: it is gone here, and its id is never run again.
fn abandon(tx: &mut dyn WriteTx, assignment: &Assignment, picture: &Picture<'_>, now: Time) {
    tx.stage(Write::DeleteAssignment(assignment.id));
    tx.stage(Write::Bury {
        id: assignment.id.0,
        at: now,
        child: assignment.child,
    });
    tx.stage(Write::PutEvent(Event {
        at: now,
        namespace: assignment.app.namespace.to_string(),
        subject: format!("application/{}", assignment.app.name),
        reason: "Abandoned".to_owned(),
        message: format!(
            "replica {} of service {} was given up on {}, which is not heard",
            assignment.ordinal,
            assignment.service,
            picture.child(assignment.child),
        ),
    }));
}
