//! Wire messages to domain types and back. Whatever comes from outside and cannot be understood is an error that names
//! the field; nothing is guessed.

mod capacity;
mod instance;
mod order;

use std::str::FromStr;

pub use capacity::{capacity_from_wire, capacity_to_wire, resources_from_wire, resources_to_wire};
use edgeio_domain::{
    child::Accepted,
    digest::Digest16,
    ids::{Lineage, SpecHash},
};
use edgeio_proto::link::v1;
pub use instance::{
    candidates_from_wire, candidates_to_wire, incarnation_from_wire, incarnation_to_wire,
    observed_from_wire, phase_from_wire, phase_to_wire, rejection_to_wire, report_of_status,
};
pub use order::{desired_from_wire, desired_to_wire, order_from_wire};

/// The largest revision, epoch or generation that is believed. No database counts so far; what is believed can always be
/// counted beyond, by a parent that must stand above what its child has accepted.
pub const MAX_COUNT: u64 = 1 << 62;

/// What cannot be understood in a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field} cannot be understood: {what}")]
pub struct WireError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl WireError {
    pub(crate) fn new(field: &'static str, what: impl Into<String>) -> Self {
        Self {
            field,
            what: what.into(),
        }
    }
}

/// Reads an id.
///
/// # Errors
/// It is not a UUID.
pub fn id<T: FromStr>(field: &'static str, text: &str) -> Result<T, WireError> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(60).collect();
        WireError::new(field, format!("{shown:?} is not a UUID"))
    })
}

/// Reads a number that a database has counted.
///
/// # Errors
/// It is larger than [`MAX_COUNT`].
pub fn count(field: &'static str, number: u64) -> Result<u64, WireError> {
    if number > MAX_COUNT {
        return Err(WireError::new(field, format!("{number} is out of range")));
    }
    Ok(number)
}

/// Reads a spec's hash.
///
/// # Errors
/// It has not 32 bytes.
pub fn spec_hash(bytes: &[u8]) -> Result<SpecHash, WireError> {
    SpecHash::from_slice(bytes)
        .ok_or_else(|| WireError::new("spec_hash", format!("has {} bytes, not 32", bytes.len())))
}

/// Reads a digest; `None` when it is empty or of another length.
#[must_use]
pub fn digest(bytes: &[u8]) -> Option<Digest16> {
    bytes.try_into().ok()
}

/// Reads the point up to which a child has accepted.
///
/// # Errors
/// The lineage is not a UUID, or a number is larger than any database counts.
pub fn accepted_from_wire(accepted: &v1::Accepted) -> Result<Accepted, WireError> {
    Ok(Accepted {
        lineage: id::<Lineage>("lineage", &accepted.lineage)?,
        issuer_epoch: count("issuer_epoch", accepted.issuer_epoch)?,
        revision: count("revision", accepted.revision)?,
    })
}

/// Writes the point up to which a child has accepted.
#[must_use]
pub fn accepted_to_wire(accepted: &Accepted) -> v1::Accepted {
    v1::Accepted {
        lineage: accepted.lineage.to_string(),
        issuer_epoch: accepted.issuer_epoch,
        revision: accepted.revision,
    }
}
