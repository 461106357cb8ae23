//! Orders: what a parent wants of an assignment.

use edgeio_domain::{node::Order, records::Desired};
use edgeio_proto::link::v1;

use super::{WireError, count, id, spec_hash};

/// Reads what is wanted.
///
/// # Errors
/// A value that this version does not know: it is to be held, never guessed.
pub fn desired_from_wire(value: i32) -> Result<Desired, WireError> {
    match v1::Desired::try_from(value) {
        Ok(v1::Desired::Run) => Ok(Desired::Run),
        Ok(v1::Desired::Pause) => Ok(Desired::Pause),
        Ok(v1::Desired::Stop) => Ok(Desired::Stop),
        Ok(v1::Desired::Unspecified) | Err(_) => Err(WireError::new(
            "desired",
            format!("{value} is not known here"),
        )),
    }
}

/// Writes what is wanted. Hold is never sent; it stands for nothing on the wire.
#[must_use]
pub fn desired_to_wire(desired: Desired) -> v1::Desired {
    match desired {
        Desired::Run => v1::Desired::Run,
        Desired::Pause => v1::Desired::Pause,
        Desired::Stop => v1::Desired::Stop,
        Desired::Hold => v1::Desired::Unspecified,
    }
}

/// Reads an assignment as a worker keeps it.
///
/// # Errors
/// Names the field that cannot be understood.
pub fn order_from_wire(assignment: &v1::Assignment) -> Result<Order, WireError> {
    Ok(Order {
        id: id("id", &assignment.id)?,
        slot: id("slot_id", &assignment.slot_id)?,
        generation: count("generation", assignment.generation)?,
        desired: desired_from_wire(assignment.desired)?,
        restart_count: assignment.restart_count,
        spec_hash: spec_hash(&assignment.spec_hash)?,
        image_digest: assignment.image_digest.clone(),
        namespace: assignment.namespace.clone(),
        application: assignment.application.clone(),
        application_uid: assignment.application_uid.clone(),
        service: assignment.service.clone(),
        ordinal: assignment.ordinal,
        owner: assignment.owner.clone(),
    })
}
