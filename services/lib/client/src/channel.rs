//! Channels: when to give up a connection, a call, or a silence.

use std::time::Duration;

use tonic::transport::Channel;

use crate::dial::Dialer;
use crate::target::Target;

/// Why no channel could be made.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The transport refuses the address.
    #[error("prepare a channel to `{target}`")]
    Prepare {
        /// The address.
        target: Target,
        /// The transport's answer.
        #[source]
        source: tonic::transport::Error,
    },
    /// Nothing answers there.
    #[error("connect to `{target}`")]
    Connect {
        /// The address.
        target: Target,
        /// The transport's answer.
        #[source]
        source: tonic::transport::Error,
    },
}

/// How patient a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// For a connection to stand, and again as long for TLS. Two lost SYNs (1 s and 3 s) on a bad mobile link still pass.
    pub connect_within: Duration,
    /// For a call's answer; for a stream, until it begins. Above the servers' own 10 s, so that
    /// their clearer refusal comes first.
    pub answer_within: Duration,
    /// Silence after which the other end is asked whether it lives, also between calls: NATs forget
    /// idle connections after a minute or more, and a watch must notice that it is dead.
    pub keepalive_interval: Duration,
    /// How long that question may stay without an answer.
    pub keepalive_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(5),
            answer_within: Duration::from_secs(15),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

/// [`Dialer::connect`] with the system's authorities and the environment's proxy.
///
/// # Errors
/// When the transport refuses the address; never because nothing answers there.
pub fn connect(target: &Target, options: &Options) -> Result<Channel, ChannelError> {
    Dialer::default().connect(target, options)
}

/// [`Dialer::connect_now`] with the system's authorities and the environment's proxy.
///
/// # Errors
/// When nothing answers there in time.
pub async fn connect_now(target: &Target, options: &Options) -> Result<Channel, ChannelError> {
    Dialer::default().connect_now(target, options).await
}
