//! A simulator of a root, a cluster and its workers: the production loops under virtual time.
//!
//! The engine, the hub, the uplink and the node are the ones of the binaries, on the in-memory store and ledger. Only what
//! touches the world is replaced: clocks, ids, the network (it drops, repeats, delays and reorders) and the runtimes, which
//! keep a record of their own. Components crash between events and at commits. The invariants are checked against the
//! runtimes' record at every step, and convergence at the end. One seed is one schedule: it replays exactly.

mod check;
mod clock;
mod machine;
mod queue;
mod scenario;
mod tier;
mod world;

use edgeio_domain::plant::{self, Plant};
pub use world::Profile;
use world::World;

/// How a schedule went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Events that happened.
    pub events: u64,
    /// A hash over all of them: equal for equal seeds.
    pub trace: u64,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {invariant} at {at_ms} ms: {what}\nlast events:\n{tail}")]
pub struct Violation {
    /// The seed that replays it.
    pub seed: u64,
    /// Which invariant.
    pub invariant: &'static str,
    /// When, in virtual milliseconds.
    pub at_ms: i64,
    /// What was seen.
    pub what: String,
    /// The last events before it.
    pub tail: String,
}

/// Runs one schedule, with a planted bug if asked.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(seed: u64, profile: Profile, bug: Option<Plant>) -> Result<Outcome, Violation> {
    plant::set(bug);
    let result = World::new(seed, profile).run();
    plant::set(None);
    result
}
