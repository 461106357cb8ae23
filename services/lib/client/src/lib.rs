//! What a caller needs: channels, TLS, proxies, deadlines, retry, watch resume.
//!
//! Used by the command line, by the uplinks of clusters and bridges, and by tests. Nothing here
//! knows what a call means; it only makes calls survive what networks and restarts do to them.

mod backoff;
mod channel;
mod dial;
mod explain;
mod machine;
mod retry;
mod target;
mod watch;

pub use backoff::{Backoff, BackoffPolicy};
pub use channel::{ChannelError, Options, connect, connect_now};
pub use dial::{CaHash, CaHashError, DialError, Dialer, Proxy, ProxyError, Trust};
pub use explain::{Failure, explain_status, printable};
pub use machine::{MachineKey, MachineKeyError, Signer, takes_no_credential};
pub use retry::{Repeat, is_connection_old, is_transient, retry};
pub use target::{Target, TargetError};
pub use watch::{Resumable, WatchEvent, resume};
