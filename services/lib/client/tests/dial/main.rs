//! The dialer against real servers and proxies: good ones, wrong ones, and some that are neither.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is its report")]

mod proxies;
mod support;
mod trusting;
