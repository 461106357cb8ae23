//! Hostile callers against real servers: `edgeio-root`, `edgeio-cluster`, the bridge and a worker, as they are shipped.
//!
//! What must hold beside thousands of bad requests: no panic, no INTERNAL and no UNKNOWN answer, no complaint in a log that is not
//! expected, memory that stays (50 MiB), connections that go when their clients do, and a well-behaved client that gets every call
//! answered. Seeds are printed; `EDGEIO_HOSTILE_SEED` takes another one, `EDGEIO_HOSTILE_REQUESTS` another number of
//! requests a service.

mod bus;
mod caller;
mod connections;
mod guest;
mod raw;
mod requests;
mod watcher;

use anyhow::{Context as _, Result};

/// The seed of a run.
fn seed() -> Result<u64> {
    setting("EDGEIO_HOSTILE_SEED", 20_261_124)
}

fn setting(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

/// Prints figures of a run.
#[expect(
    clippy::print_stdout,
    reason = "figures are for people who read the run"
)]
fn tell(text: &str) {
    println!("{text}");
}
