//! Digests by which two sides of a link find that they agree without sending anything.
//!
//! Each is SHA-256 over the sorted entries, cut to 16 bytes. Entries are written with fixed widths, so that no two lists
//! have the same bytes.

use sha2::{Digest, Sha256};

use crate::{ids::AssignmentId, lifecycle::Phase, records::Desired};

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

    fn id(n: u128) -> AssignmentId {
        AssignmentId(Uuid::from_u128(n))
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
