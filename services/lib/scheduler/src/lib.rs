//! Pure placement for both tiers: filter, score, place, explain. The root puts slots on clusters with it, a cluster puts
//! them on workers: a worker is a candidate with one bucket, a cluster is one with a bucket per kind of worker.
//!
//! The laws (README.md) hold for every input and are tested: nothing is over-committed, the answer depends on nothing but
//! the candidates and what was reserved, and every rejection is explained.
//!
//! Deliberately absent: clock, random source, I/O, and any notion of who owns a slot. One slot is placed at a time;
//! the caller decides the order.

mod candidate;
mod demand;
mod filter;
mod pool;
mod score;

pub use candidate::Candidate;
pub use demand::Demand;
pub use pool::Pool;
pub use score::Score;
