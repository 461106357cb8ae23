//! One suite for every runtime, plus what only one of them can do.
//!
//! Real engines: the Docker Engine at `/var/run/docker.sock`, a containerd of our own, real processes, real control groups. A missing
//! engine fails.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod bed;
mod containerd;
mod docker;
mod engine;
mod external;
mod fake;
mod images;
mod private;
mod process;
mod sandbox;
mod suite;
