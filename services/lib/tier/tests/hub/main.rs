//! The hub: what children say is recorded, what they shall run is sent. Children are played by hand, message by message.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: a panic is its report"
)]

mod bed;
mod found;
mod lost;
mod orders;
mod owned;
mod replace;
mod replicas;
mod sessions;
mod silence;
