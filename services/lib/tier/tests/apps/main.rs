//! What people ask of a tier, on the store in memory, with the production engine beside it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: a panic is its report"
)]

mod access;
mod apply;
mod audit;
mod children;
mod delete;
mod found;
mod held;
mod lists;
mod once;
mod owned;
mod plan;
mod scale;
mod silence;
mod support;
mod watch;
mod wire;
