//! The server as its clients meet it, over real connections.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: a panic is its report"
)]

mod callers;
mod secure;
mod serving;
mod stopping;
mod support;
