//! A bus that loses, repeats and delays what is published on it, for tests: everything above it must not care.
//!
//! It wraps a real bus and keeps its meaning, at most once and in any order, only far more often than a good network does. What is
//! published is what suffers, so wrapping both ends disturbs both directions, each message once. Each draw comes from one seed; when
//! a message is published is not its own, so two runs of one seed differ in what they draw for which message. Behind the
//! `chaos` feature; [`MARKER`] lets a release binary be searched for it. Deliberately absent: messages changed on their way, which
//! the transport below excludes.

mod bridge;
mod fate;
mod worker;

pub use bridge::ChaosBridgeBus;
pub use fate::{Chaos, Odds, Tally};
pub use worker::ChaosDial;

/// What a program that was built with this holds.
pub const MARKER: &str = "edgeio-chaos-bus-41d7b2c8";
