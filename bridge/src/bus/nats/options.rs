//! How the NATS client is set up, in one place for workers and bridges. Passes are shown by a callback, so that each
//! connection shows the newest one.

use std::time::Duration;

use async_nats::ConnectOptions;
use rand::Rng as _;
use uuid::Uuid;

use super::super::{ConnectError, Pass};
use crate::subject::inbox;

/// A reconnect is never sooner: a broker that lets a client in and throws it out at once (a credential that ran
/// out within its last second) would otherwise be dialled dozens of times a second.
const DELAY_FLOOR: Duration = Duration::from_millis(250);
/// The first wait is up to this. Ten thousand workers behind one broker then need some seconds to come back, which
/// is what a broker on two cores takes to greet them.
const DELAY_BASE: Duration = Duration::from_secs(2);
/// No wait is longer: the lease of a worker is 45 s, so one attempt always falls into it.
const DELAY_CAP: Duration = Duration::from_secs(30);
/// The client's own ping: two unanswered ones end the connection, so a dead path is known within a lease.
const PING: Duration = Duration::from_secs(15);
/// Messages that wait to be written. They are encoded (64 KiB at most), so this bounds memory at 16 MiB where a
/// broker does not read; more would only delay the error that the link reacts to.
const OUTBOX: usize = 256;

/// Who connects: decides how much may wait to be read.
pub(super) enum Role {
    /// One worker.
    Worker,
    /// One bridge, which hears every worker.
    Bridge,
}

impl Role {
    /// Messages that may wait in one subscription before the client throws them away and says so.
    ///
    /// A worker is told little and takes it at once: 512 holds the chunks of any snapshot, at 32 MiB if each were of
    /// the largest size. A bridge must outlast the burst after a broker's restart, when thousands of workers say
    /// hello within seconds (some 300 bytes each), while a stalled cluster stops it from reading: 4096 of them, at
    /// 256 MiB if hostile workers sent nothing but the largest.
    const fn subscription_capacity(&self) -> usize {
        match self {
            Self::Worker => 512,
            Self::Bridge => 4096,
        }
    }
}

/// Options without the event callback.
pub(super) fn connect_options(
    name: &str,
    client: Uuid,
    role: &Role,
    pass: &Pass,
) -> ConnectOptions {
    let pass = pass.clone();
    let show = move |nonce: Vec<u8>| std::future::ready(pass.show(&nonce));
    ConnectOptions::with_auth_callback(show)
        .name(name)
        .custom_inbox_prefix(inbox(client))
        // A worker may boot before its broker does.
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(PING)
        .client_capacity(OUTBOX)
        .subscription_capacity(role.subscription_capacity())
        // Addresses come from the registration; a broker's gossip may name ones that a NAT hides.
        .ignore_discovered_servers()
}

/// Checks a broker's address, such as `nats://127.0.0.1:4222` or `broker.example:4222`.
///
/// # Errors
/// [`ConnectError::Address`].
pub fn check_address(address: &str) -> Result<(), ConnectError> {
    parse_address(address).map(|_| ())
}

pub(super) fn parse_address(address: &str) -> Result<async_nats::ServerAddr, ConnectError> {
    address
        .parse()
        .and_then(|server: async_nats::ServerAddr| match server.host() {
            "" => Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "it names no host",
            )),
            _ => Ok(server),
        })
        .map_err(|source| ConnectError::Address {
            address: address.to_owned(),
            source,
        })
}

/// How long to wait before attempt `attempts` (from 1). Full jitter, so that workers that lost one broker do not
/// come back as one wave. The client asks before the very first attempt too: nothing has failed then.
pub(super) fn reconnect_delay(attempts: usize, was_connected: bool) -> Duration {
    if attempts <= 1 && !was_connected {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempts.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(16);
    let most = DELAY_BASE.saturating_mul(1 << doublings).min(DELAY_CAP);
    rand::rng().random_range(DELAY_FLOOR..=most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_between_the_floor_and_a_growing_cap() {
        assert_eq!(reconnect_delay(1, false), Duration::ZERO);
        for attempts in [1, 2, 3, 10, usize::MAX] {
            let waits: Vec<_> = (0..1000).map(|_| reconnect_delay(attempts, true)).collect();
            let most = *waits.iter().max().expect("some");
            let least = *waits.iter().min().expect("some");
            assert!(
                least >= DELAY_FLOOR && most <= DELAY_CAP,
                "{attempts}: {least:?}..{most:?}"
            );
            assert!(attempts > 1 || most <= DELAY_BASE, "{most:?}");
            assert!(most > least * 3, "no jitter: {least:?}..{most:?}");
        }
        assert!(
            reconnect_delay(2, false) >= DELAY_FLOOR,
            "a dead broker is not dialled in a loop"
        );
    }

    #[test]
    fn addresses() {
        for good in [
            "127.0.0.1:4222",
            "nats://127.0.0.1:4222",
            "broker.example",
            "tls://b:4443",
        ] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in ["", "http://x:1", "nats://", "a b"] {
            assert!(check_address(bad).is_err(), "`{bad}` was taken");
        }
    }
}
