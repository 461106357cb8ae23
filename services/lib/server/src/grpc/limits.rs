//! What clients may take of a server. tonic's own defaults are open: no stream limit, no
//! timeout, no keepalive, unlimited encoding.

use std::time::Duration;

use tonic::transport::Server;

/// Largest message that a server reads: an application of 100 services fits many times over, and a
/// link's report is split into chunks far below.
pub const MAX_DECODED_BYTES: usize = 1024 * 1024;

/// Largest message that a server writes: a page of 1000 instances with their output tails (4 KiB
/// each) just fits, and tonic clients read 4 MiB by default.
pub const MAX_ENCODED_BYTES: usize = 4 * 1024 * 1024;

/// Limits of the transport, each a connection's unless it says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open calls, watches included. h2's usual advice: the lowest value that lets one browser or
    /// one CLI do all it wants.
    pub streams: u32,
    /// Calls whose handler has not answered yet; more are refused with RESOURCE_EXHAUSTED rather
    /// than queued, so that an overloaded server stays quick to say so. There is no such limit for all connections together: a
    /// few hundred that begin calls and never send their requests would shut everybody out by it.
    pub unanswered: usize,
    /// How long a handler may take until it answers. For a stream that is until it begins, not
    /// until it ends. Longer than any database wait (5 s), shorter than a user's patience.
    pub answer_within: Duration,
    /// How long a connection may take until it has said HTTP/2's first 24 bytes; with TLS, after its handshake. Two lost packets on
    /// a bad mobile link still pass.
    pub opens_within: Duration,
    /// Silence after which a connection is asked whether it lives. NATs forget idle connections
    /// after a minute or more, so half of that keeps the path open too.
    pub keepalive_interval: Duration,
    /// How long that question may stay without an answer before the connection is closed.
    pub keepalive_timeout: Duration,
    /// How old a connection gets, on the average; then its client is asked to dial again. Zero is without a limit.
    pub connection_age: Duration,
    /// Bytes of a call's metadata. h2's default of 16 MiB lets every call cost that much.
    pub header_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 100,
            unanswered: 64,
            answer_within: Duration::from_secs(10),
            opens_within: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            connection_age: Duration::from_secs(30 * 60),
            header_bytes: 16 * 1024,
        }
    }
}

impl Limits {
    pub(super) fn apply(self, server: Server) -> Server {
        server
            .max_concurrent_streams(self.streams)
            .concurrency_limit_per_connection(self.unanswered)
            .load_shed(true)
            .timeout(self.answer_within)
            .http2_keepalive_interval(Some(self.keepalive_interval))
            .http2_keepalive_timeout(Some(self.keepalive_timeout))
            .http2_max_header_list_size(self.header_bytes)
            // h2's own default, written down because it is what stops a flood of resets.
            .http2_max_pending_accept_reset_streams(Some(20))
    }
}
