//! Instances: a slot joined with the assignment that fills it.
//!
//! What a child reported is shown as it was reported; nothing is made up for it. Whether it is fresh stands beside it.

use edgeio_domain::{
    lifecycle::Phase,
    records::{Assignment, Desired, Owner, Slot},
};
use edgeio_proto::api::v1;

use super::{Picture, candidates, timestamp};

/// The reason of what runs and was not asked for.
const HELD: &str = "Held";

impl Picture<'_> {
    /// A slot with what was placed for it.
    pub(crate) fn of_slot(&self, slot: &Slot, assignments: &[&Assignment]) -> v1::Instance {
        let Some(assignment) = self.stands(assignments) else {
            return self.unplaced(slot);
        };
        let mut instance = self.of_assignment(Some(slot), assignment);
        let silent = |a: &&&Assignment| a.id != assignment.id && a.is_live() && !self.reaches(a);
        if let Some(other) = assignments.iter().find(silent)
            && instance.message.is_empty()
        {
            let (noun, name) = (self.scope.child_noun(), self.child(other.child));
            instance.message = format!("it stands in for one on {noun} {name}, which is not heard");
        }
        if !self.reaches(assignment) && instance.candidates.is_empty() {
            // A substitute was looked for, and this is why there is none.
            instance.candidates = candidates(&slot.pending);
        }
        instance
    }

    /// What is placed without a slot: it is held, or ends.
    pub(crate) fn without_slot(&self, assignments: &[&Assignment]) -> Option<v1::Instance> {
        self.stands(assignments)
            .map(|assignment| self.of_assignment(None, assignment))
    }

    /// One placement.
    pub(crate) fn of_assignment(
        &self,
        slot: Option<&Slot>,
        assignment: &Assignment,
    ) -> v1::Instance {
        let observed = &assignment.observed;
        let child = self.child(assignment.child);
        let lives = observed.incarnation.as_ref();
        let (cluster, worker, id) = match self.scope.own {
            Owner::Root => (
                child,
                lives.map_or_else(String::new, |at| at.worker_name.clone()),
                lives.map_or_else(String::new, |at| at.instance.to_string()),
            ),
            Owner::Cluster(_) => (String::new(), child, assignment.id.to_string()),
        };
        let mut instance = v1::Instance {
            id,
            slot_id: assignment.slot.to_string(),
            namespace: assignment.app.namespace.to_string(),
            application: assignment.app.name.to_string(),
            service: assignment.service.to_string(),
            ordinal: assignment.ordinal,
            cluster,
            worker,
            phase: phase(assignment).into(),
            reachability: if self.reaches(assignment) {
                v1::Reachability::Reachable
            } else {
                v1::Reachability::Unreachable
            }
            .into(),
            reason: observed.reason.clone(),
            message: observed.message.clone(),
            exit_code: observed.exit_code,
            restarts: observed.restarts,
            running_since: observed.running_since.map(timestamp),
            output_tail: observed.output_tail.clone(),
            handle: observed.handle.clone(),
            candidates: candidates(&observed.candidates),
            retiring: slot.map_or(ends(assignment), |slot| slot.desired == Desired::Stop),
            owner: self.owner(assignment.app.owner),
        };
        let orphan = slot
            .and_then(|slot| slot.upstream.as_ref())
            .is_some_and(|upstream| upstream.orphan);
        if let Some(silent) = self.unconfirmed(assignment) {
            "Unconfirmed".clone_into(&mut instance.reason);
            instance.message = silent;
        }
        let held = assignment.desired == Desired::Hold && !assignment.is_mirror();
        if held || orphan {
            HELD.clone_into(&mut instance.reason);
            instance.message = if orphan {
                "the root does not name it any more: it runs on until somebody decides".to_owned()
            } else {
                "it was found running and nobody asked for it: it is left alone until its application is applied again or somebody decides"
                    .to_owned()
            };
        }
        instance
    }

    /// Says that a stop waits for a child that is not heard: until it confirms, nothing takes the replica's place.
    fn unconfirmed(&self, assignment: &Assignment) -> Option<String> {
        let waits = assignment.desired == Desired::Stop && !self.hears(assignment.child);
        let noun = self.scope.child_noun();
        let name = self.child(assignment.child);
        waits.then(|| {
            format!(
                "{noun} {name} is not heard and has not said that it stopped: if it will not come back, forget it"
            )
        })
    }

    /// A slot without a place.
    fn unplaced(&self, slot: &Slot) -> v1::Instance {
        let retiring = slot.desired == Desired::Stop;
        let (reason, message) = if retiring {
            ("", String::new())
        } else if let Some(said) = slot.upstream.as_ref().and_then(|up| up.returned.as_ref()) {
            ("Unplaceable", said.clone())
        } else if slot.pending.is_empty() {
            ("", String::new())
        } else {
            let noun = self.scope.child_noun();
            ("NoPlace", format!("no {noun} can take it now"))
        };
        v1::Instance {
            slot_id: slot.id.to_string(),
            namespace: slot.app.namespace.to_string(),
            application: slot.app.name.to_string(),
            service: slot.service.to_string(),
            ordinal: slot.ordinal,
            phase: if retiring {
                v1::InstancePhase::Stopped
            } else {
                v1::InstancePhase::Pending
            }
            .into(),
            // Nothing is anywhere that could be silent.
            reachability: v1::Reachability::Reachable.into(),
            reason: reason.to_owned(),
            message,
            candidates: candidates(&slot.pending),
            retiring,
            ..v1::Instance::default()
        }
    }
}

/// Whether something without a slot ends. Of what a cluster owns only its phase tells.
fn ends(assignment: &Assignment) -> bool {
    assignment.desired == Desired::Stop
        || assignment.is_mirror() && assignment.observed.phase == Phase::Stopping
}

/// The slot that an instance of a cluster's own application fills there, as far as it is known here.
pub(super) fn mirrored_slot(assignment: &Assignment) -> Slot {
    Slot {
        id: assignment.slot,
        app: assignment.app.clone(),
        app_uid: assignment.app_uid,
        service: assignment.service.clone(),
        ordinal: assignment.ordinal,
        desired: if ends(assignment) {
            Desired::Stop
        } else {
            Desired::Run
        },
        restart_count: assignment.restart_count,
        spec_hash: assignment.spec_hash,
        demand: assignment.demand,
        upstream: None,
        refusals: Vec::new(),
        pending: assignment.observed.candidates.clone(),
        created_at: assignment.created_at,
        revision: assignment.revision,
    }
}

/// The phase that is shown: what was reported, once the child has answered.
pub(super) fn phase(assignment: &Assignment) -> v1::InstancePhase {
    let observed = &assignment.observed;
    if assignment.desired == Desired::Stop && !observed.phase.is_terminal() {
        // What was reported before the stop was ordered says nothing about what is to be.
        return v1::InstancePhase::Stopping;
    }
    if observed.generation == 0 && observed.phase == Phase::Pending {
        return v1::InstancePhase::Scheduled;
    }
    match observed.phase {
        Phase::Pending => v1::InstancePhase::Pending,
        Phase::Scheduled => v1::InstancePhase::Scheduled,
        Phase::Preparing => v1::InstancePhase::Preparing,
        Phase::Running => v1::InstancePhase::Running,
        Phase::Paused => v1::InstancePhase::Paused,
        Phase::Stopping => v1::InstancePhase::Stopping,
        Phase::Stopped => v1::InstancePhase::Stopped,
        Phase::Completed => v1::InstancePhase::Completed,
        Phase::Failed => v1::InstancePhase::Failed,
    }
}
