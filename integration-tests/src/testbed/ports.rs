//! Ports on loopback that stay the same over restarts.
//!
//! They lie below those that the kernel gives to outgoing connections, so that nothing takes one while its owner is down.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, bail};
use rand::Rng as _;

const PORTS: std::ops::Range<u16> = 10_240..32_768;
const TRIES: usize = 100;

/// Those that were given out: two stories of one process never get the same one.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nobody listens on.
///
/// # Errors
/// None was found.
pub fn free_port() -> Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..TRIES {
        let port = rand::rng().random_range(PORTS);
        if TcpListener::bind(loopback(port)).is_ok() && given.insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port in {TRIES} tries")
}

/// An address on loopback.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
