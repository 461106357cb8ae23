//! Leaving: a worker's jobs are stopped and placed elsewhere, or left running unmanaged and recorded. To be called again
//! until nothing remains; then the worker is forgotten.

use edgeio_domain::{
    child::{Child, ChildState},
    ids::ChildId,
    records::{Assignment, Desired, Event},
};
use edgeio_link::convert;
use edgeio_proto::cluster::v1::{LeaveRequest, LeaveResponse};
use edgeio_server::auth::{Principal, PrincipalKind};
use edgeio_store::{AssignmentFilter, Write, WriteTx};
use edgeio_tier::{
    access::{Actor, Target},
    machines::{Caller, caller},
};
use tracing::info;

use super::{Gate, GateError};

pub(super) async fn leave(
    gate: &Gate,
    who: &Principal,
    request: LeaveRequest,
) -> Result<LeaveResponse, GateError> {
    let caller = caller(who, PrincipalKind::Worker)?;
    let id = convert::id::<ChildId>("worker_id", &request.worker_id)?;
    if let Caller::Known(own) = caller
        && own != id
    {
        return Err(GateError::OtherWorker(own));
    }
    let mut tx = gate.context.store.write().await?;
    let Some(child) = tx.child(id).await? else {
        return Err(GateError::Unknown(id));
    };
    let proven = match caller {
        Caller::Known(own) => own == id,
        Caller::Key { key, .. } if key != child.public_key => false,
        Caller::Key { .. } | Caller::Operator => {
            gate.identity.verify(&request.credential, &child.public_key) == Some(id)
        }
    };
    if !proven {
        return Err(GateError::Credential(id));
    }
    let filter = AssignmentFilter {
        child: Some(id),
        ..Default::default()
    };
    let assignments = tx.assignments(&filter).await?;
    let remaining = u32::try_from(assignments.len()).unwrap_or(u32::MAX);
    let gone = request.keep || assignments.is_empty();
    for assignment in assignments {
        if request.keep {
            abandon(gate, &mut *tx, &child, &assignment);
        } else if assignment.desired != Desired::Stop {
            let order = Assignment {
                desired: Desired::Stop,
                generation: assignment.generation + 1,
                ..assignment
            };
            tx.stage(Write::PutAssignment {
                assignment: order,
                ordered: true,
            });
        }
    }
    // Said once, when it begins; and when it keeps its jobs, which is at once.
    if request.keep || child.state != ChildState::Left {
        let target = Target::new("worker", child.display(), "");
        let jobs = if request.keep {
            "kept"
        } else {
            "to be stopped"
        };
        let target = target.with(format!("{id}, {remaining} jobs {jobs}"));
        let now = gate.context.clock.wall();
        tx.audit(Actor::of(who).did(now, "Leave", target));
    }
    info!(worker = %child.display(), remaining, keep = request.keep, "worker leaves");
    let key = child.public_key.clone();
    if gone {
        tx.stage(Write::DeleteChild(id));
    } else if child.state != ChildState::Left {
        tx.stage(Write::PutChild(Child {
            state: ChildState::Left,
            ..child
        }));
    }
    if !tx.is_empty() {
        tx.commit().await?;
    }
    if gone && let Some(passes) = &gate.passes {
        passes.revoke(&key)?;
    }
    Ok(LeaveResponse { remaining })
}

/// Records what is left running without a manager.
fn abandon(gate: &Gate, tx: &mut dyn WriteTx, child: &Child, assignment: &Assignment) {
    let at = gate.context.clock.wall();
    tx.stage(Write::DeleteAssignment(assignment.id));
    tx.stage(Write::PutTombstone(assignment.id.0, at));
    tx.stage(Write::PutEvent(Event {
        at,
        namespace: assignment.app.namespace.to_string(),
        subject: format!("application/{}", assignment.app.name),
        reason: "Abandoned".to_owned(),
        message: format!(
            "{}/{} was left running on worker {} as instance {}",
            assignment.service,
            assignment.ordinal,
            child.display(),
            assignment.id
        ),
    }));
}
