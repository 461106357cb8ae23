//! Both halves of the link protocol as state machines without I/O.
//!
//! [`child`] is a cluster towards its root and a worker towards its cluster; [`parent`] is the other side. Neither sends,
//! sleeps or stores: messages and the time come in, messages and facts to persist go out. [`convert`] and [`spec`] are
//! the only places where wire messages and domain types meet. [`version`] is what both sides can do.

pub mod child;
pub mod chunk;
pub mod convert;
pub mod holdings;
pub mod parent;
pub mod reports;
pub mod spec;
pub mod verdict;
pub mod version;

pub use version::{PROTOCOL, SPOKEN};
