//! The real stack under faults. One file a fault; each test sets up its own bed, and looks from outside: at processes in
//! `/proc`, at containers by the engine, at the lines that the jobs write themselves.
//!
//! Whatever is random comes from one seed, which is printed, as are the counts and the times that were measured.
//! `EDGEIO_CHAOS_SEED` repeats a seed as far as the machine does; `EDGEIO_CHAOS_*` set the counts, which are small in
//! `make test` and larger in `make chaos`.

mod broker;
mod calm;
mod commits;
mod copies;
mod disks;
mod kills;
mod load;
mod partitions;
mod pauses;
mod seen;

use std::{fmt::Display, io::Write as _, str::FromStr};

use rand::Rng as _;

/// A number from the environment, such as `KILLS` from `EDGEIO_CHAOS_KILLS`.
fn set(name: &str) -> Option<u64> {
    let text = std::env::var(format!("EDGEIO_CHAOS_{name}")).ok()?;
    // A count that means nothing must not become the small one silently: it becomes one that nobody waits for.
    Some(u64::from_str(&text).unwrap_or(u64::MAX))
}

/// How many times something is done: as set, else as usual.
fn count(name: &str, usual: u64) -> u64 {
    set(name).unwrap_or(usual)
}

/// The seed of a test: as set, else by chance.
fn seed() -> u64 {
    set("SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000))
}

/// Tells a figure, past the harness, which keeps what good tests print to itself.
fn say(test: &str, figure: impl Display) {
    let _ = writeln!(std::io::stderr(), "chaos {test}: {figure}");
}
