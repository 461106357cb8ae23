//! States: what a child reports of an assignment.

use edgeio_domain::{
    lifecycle::Phase,
    node::{Entry, RejectionReason},
    records::{CandidateReasons, Incarnation, Observed},
    time::Time,
};
use edgeio_proto::link::v1;

use super::{WireError, count, desired_to_wire, id};

/// Reads a phase.
///
/// # Errors
/// A value that this version does not know.
pub fn phase_from_wire(value: i32) -> Result<Phase, WireError> {
    match v1::Phase::try_from(value) {
        Ok(v1::Phase::Pending) => Ok(Phase::Pending),
        Ok(v1::Phase::Scheduled) => Ok(Phase::Scheduled),
        Ok(v1::Phase::Preparing) => Ok(Phase::Preparing),
        Ok(v1::Phase::Running) => Ok(Phase::Running),
        Ok(v1::Phase::Paused) => Ok(Phase::Paused),
        Ok(v1::Phase::Stopping) => Ok(Phase::Stopping),
        Ok(v1::Phase::Stopped) => Ok(Phase::Stopped),
        Ok(v1::Phase::Completed) => Ok(Phase::Completed),
        Ok(v1::Phase::Failed) => Ok(Phase::Failed),
        Ok(v1::Phase::Unspecified) | Err(_) => Err(WireError::new(
            "phase",
            format!("{value} is not known here"),
        )),
    }
}

/// Writes a phase.
#[must_use]
pub fn phase_to_wire(phase: Phase) -> v1::Phase {
    match phase {
        Phase::Pending => v1::Phase::Pending,
        Phase::Scheduled => v1::Phase::Scheduled,
        Phase::Preparing => v1::Phase::Preparing,
        Phase::Running => v1::Phase::Running,
        Phase::Paused => v1::Phase::Paused,
        Phase::Stopping => v1::Phase::Stopping,
        Phase::Stopped => v1::Phase::Stopped,
        Phase::Completed => v1::Phase::Completed,
        Phase::Failed => v1::Phase::Failed,
    }
}

/// Reads where a slot lives.
///
/// # Errors
/// An id is not a UUID.
pub fn incarnation_from_wire(incarnation: &v1::Incarnation) -> Result<Incarnation, WireError> {
    Ok(Incarnation {
        instance: id("incarnation.instance_id", &incarnation.instance_id)?,
        worker: id("incarnation.worker_id", &incarnation.worker_id)?,
        worker_name: incarnation.worker_name.clone(),
    })
}

/// Writes where a slot lives.
#[must_use]
pub fn incarnation_to_wire(incarnation: &Incarnation) -> v1::Incarnation {
    v1::Incarnation {
        instance_id: incarnation.instance.to_string(),
        worker_id: incarnation.worker.to_string(),
        worker_name: incarnation.worker_name.clone(),
    }
}

/// Reads reasons per candidate.
#[must_use]
pub fn candidates_from_wire(candidates: &[v1::Candidate]) -> Vec<CandidateReasons> {
    candidates
        .iter()
        .map(|c| CandidateReasons {
            candidate: c.name.clone(),
            reasons: c.reasons.clone(),
        })
        .collect()
}

/// Writes reasons per candidate.
#[must_use]
pub fn candidates_to_wire(candidates: &[CandidateReasons]) -> Vec<v1::Candidate> {
    candidates
        .iter()
        .map(|c| v1::Candidate {
            name: c.candidate.clone(),
            reasons: c.reasons.clone(),
        })
        .collect()
}

/// Reads what a child reports of an assignment. Ages become points in time of the reader's clock.
///
/// # Errors
/// Names the field that cannot be understood.
pub fn observed_from_wire(report: &v1::InstanceReport, now: Time) -> Result<Observed, WireError> {
    let since = report
        .running_for_ms
        .map(|age| Time(now.0.saturating_sub_unsigned(age)));
    Ok(Observed {
        generation: count("generation", report.generation)?,
        restart_count: report.restart_count,
        phase: phase_from_wire(report.phase)?,
        reason: report.reason.clone(),
        message: report.message.clone(),
        exit_code: report.exit_code,
        restarts: report.restarts,
        running_since: since,
        output_tail: report.output_tail.clone(),
        image_digest: report.image_digest.clone(),
        handle: report.handle.clone(),
        incarnation: report
            .incarnation
            .as_ref()
            .map(incarnation_from_wire)
            .transpose()?,
        candidates: candidates_from_wire(&report.candidates),
        unreachable: report.unreachable,
    })
}

/// Writes what a worker reports of an instance.
#[must_use]
pub fn report_of_status(entry: &Entry, now: Time) -> v1::InstanceReport {
    let (order, status) = (&entry.order, &entry.status);
    v1::InstanceReport {
        id: order.id.to_string(),
        slot_id: order.slot.to_string(),
        generation: order.generation,
        restart_count: order.restart_count,
        spec_hash: order.spec_hash.0.to_vec(),
        desired: desired_to_wire(order.desired).into(),
        phase: phase_to_wire(status.phase).into(),
        reason: status.reason.clone(),
        message: status.message.clone(),
        exit_code: status.exit_code,
        restarts: status.restarts,
        running_for_ms: status
            .running_since
            .map(|since| u64::try_from(now.since(since).as_millis()).unwrap_or(0)),
        output_tail: status.output_tail.clone(),
        image_digest: status.image_digest.clone(),
        handle: status.handle.clone(),
        incarnation: None,
        rejection: status.rejection.as_ref().map(|rejection| v1::Rejection {
            reason: rejection_to_wire(rejection.reason).into(),
            message: rejection.message.clone(),
        }),
        orphan: status.orphan,
        namespace: order.namespace.clone(),
        application: order.application.clone(),
        service: order.service.clone(),
        ordinal: order.ordinal,
        candidates: Vec::new(),
        application_uid: order.application_uid.clone(),
        unreachable: false,
        owner: order.owner.clone(),
    }
}

/// Writes why an assignment is refused.
#[must_use]
pub fn rejection_to_wire(reason: RejectionReason) -> v1::RejectionReason {
    match reason {
        RejectionReason::Tombstoned => v1::RejectionReason::Tombstoned,
        RejectionReason::Unplaceable => v1::RejectionReason::Unplaceable,
        RejectionReason::Unsupported => v1::RejectionReason::Unsupported,
        RejectionReason::InvalidSpec => v1::RejectionReason::InvalidSpec,
        RejectionReason::Unwilling => v1::RejectionReason::Unwilling,
    }
}
