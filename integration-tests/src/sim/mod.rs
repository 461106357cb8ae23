//! A simulator of roots, clusters, bridges and workers: the production loops under virtual time.
//!
//! The engine, the hub, the uplink, the node and the commands of users are the ones of the binaries, on the in-memory store
//! and ledger. Only what touches the world is replaced: clocks, ids, the network and the runtimes, which keep a record of
//! their own. What breaks is drawn from the seed by a [`Profile`]: messages, processes, ways, clocks, databases, identities.
//! The invariants are checked against the runtimes' record and every commit at every step, and convergence at the end. One
//! seed is one schedule: it replays exactly.

mod absence;
mod carry;
mod check;
mod clock;
mod faults;
mod kind;
mod life;
mod machine;
mod network;
mod operators;
pub mod plants;
mod profile;
mod queue;
mod sweep;
mod tier;
mod topology;
mod trace;
mod users;
mod world;

use edgeio_domain::plant::{self, Plant};
pub use profile::Profile;
pub use sweep::{Sweep, Totals};
use world::World;

/// Events in words that a violation shows.
const TAIL: usize = 80;

/// How a schedule went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Events that happened.
    pub events: u64,
    /// How long it took in virtual time, in milliseconds.
    pub virtual_ms: i64,
    /// A hash over all of them: equal for equal seeds.
    pub trace: u64,
    /// What each application came to.
    pub end: Vec<End>,
    /// The last events in words, as many as were asked for.
    pub told: String,
}

/// What an application came to. Where there is room for everything, it is the same whatever broke in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its name.
    pub name: String,
    /// Replicas and the version of the spec; `None` when it does not exist.
    pub wished: Option<(u32, u32)>,
    /// How many of that version run; `None` where there may not be room for all.
    pub running: Option<u32>,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}{}seed {seed}, profile {}: {invariant} at {at_ms} ms: {what}",
    tail, if tail.is_empty() { "" } else { "\n" }, profile.name()
)]
pub struct Violation {
    /// The seed that replays it.
    pub seed: u64,
    /// Its profile.
    pub profile: Profile,
    /// Which invariant.
    pub invariant: &'static str,
    /// When, in virtual milliseconds.
    pub at_ms: i64,
    /// What was seen.
    pub what: String,
    /// The last events before it, and how things stand.
    pub tail: String,
}

/// Runs one schedule, with a planted bug if asked. A violation tells no events: [`explain`] does.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(seed: u64, profile: Profile, bug: Option<Plant>) -> Result<Outcome, Violation> {
    replay(seed, profile, bug, 0)
}

/// Runs one schedule and keeps so many of its last events in words.
///
/// # Errors
/// The first invariant that did not hold.
pub fn explain(
    seed: u64,
    profile: Profile,
    bug: Option<Plant>,
    events: usize,
) -> Result<Outcome, Violation> {
    replay(seed, profile, bug, events.max(1))
}

/// A violation with its last events: the schedule is run again for them.
#[must_use]
pub fn explained(violation: Violation, bug: Option<Plant>) -> Violation {
    explain(violation.seed, violation.profile, bug, TAIL)
        .err()
        .unwrap_or(violation)
}

/// Turns a planted bug off again, also when a schedule panics.
struct Planted;

impl Drop for Planted {
    fn drop(&mut self) {
        plant::set(None);
    }
}

fn replay(
    seed: u64,
    profile: Profile,
    bug: Option<Plant>,
    keep: usize,
) -> Result<Outcome, Violation> {
    plant::set(bug);
    let _planted = Planted;
    World::new(seed, profile, keep).run()
}
