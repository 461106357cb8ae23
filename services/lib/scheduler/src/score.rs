//! How good a place is. Scores sort themselves; the smallest wins.
//!
//! Deliberately absent: anything that moves between two looks (CPU load, time, latency). A placement must come out the
//! same when it is computed again.

use edgeio_domain::{ids::ChildId, resources::Resources};

use crate::{candidate::Candidate, demand::Demand};

/// What an instance weighs beyond what it asks for, in scores only. It spreads instances that ask for nothing.
/// A container's shim was measured at 13 MiB; CPU is set so that it weighs the same on a machine of usual proportions
/// (one core to 2 GiB), and both are small enough for stated amounts to decide.
const OVERHEAD: Resources = Resources {
    cpu_millis: 8,
    memory_bytes: 16 << 20,
};

/// A place's score: fields in order of priority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Score {
    /// Instances of the same service there: replicas are for surviving the loss of a child, so this comes first.
    pub siblings: u32,
    /// Share of the scarcer of CPU and memory that is taken once the demand is there, in millionths; over a million
    /// where more was promised than there is. The scarcer one, because the first to run out ends the placing.
    pub taken: u64,
    /// The child: of equals the oldest, so that the answer never depends on the order of the input.
    pub id: ChildId,
}

impl Score {
    pub(crate) fn of(candidate: &Candidate, demand: &Demand, siblings: u32) -> Self {
        let free = candidate.free();
        let all = candidate.allocatable;
        let instances = i64::from(candidate.instances).saturating_add(1);
        let share = |all: i64, free: i64, demand: i64, overhead: i64| {
            let taken = i128::from(all) - i128::from(free)
                + i128::from(demand)
                + i128::from(overhead) * i128::from(instances);
            // Where nothing is known to be allocatable, any amount counts as far too much.
            let millionths = taken.max(0) * 1_000_000 / i128::from(all.max(1));
            u64::try_from(millionths).unwrap_or(u64::MAX)
        };
        let cpu = share(
            all.cpu_millis,
            free.cpu_millis,
            demand.resources.cpu_millis,
            OVERHEAD.cpu_millis,
        );
        let memory = share(
            all.memory_bytes,
            free.memory_bytes,
            demand.resources.memory_bytes,
            OVERHEAD.memory_bytes,
        );
        Self {
            siblings,
            taken: cpu.max(memory),
            id: candidate.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_outweigh_load_and_load_outweighs_age() {
        let id = |n| ChildId(uuid::Uuid::from_u128(n));
        let score = |siblings, taken, n| Score {
            siblings,
            taken,
            id: id(n),
        };
        assert!(score(0, 999_999, 2) < score(1, 0, 1));
        assert!(score(1, 10, 2) < score(1, 11, 1));
        assert!(score(1, 10, 1) < score(1, 10, 2));
    }
}
