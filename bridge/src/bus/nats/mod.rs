//! The bus over NATS.
//!
//! One connection per worker and one per bridge, each dialled outward. It is never given up: a broker may be gone
//! for days. Deliberately absent: JetStream (the tiers' databases are the authority, the bus is a lossy hint)
//! and request and reply (the link's messages stand alone).

mod bridge;
mod connection;
mod events;
mod options;
mod worker;

pub use bridge::NatsBridgeBus;
pub use options::check_address;
pub use worker::{NatsDial, NatsWorkerBus};
