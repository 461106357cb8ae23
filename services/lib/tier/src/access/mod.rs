//! Who may do what at this tier: users, namespaces, and the audit of both and of everything else that changes.
//!
//! Deliberately absent: how a credential comes with a call (see `edgeio_server::auth`), and what a role may call (declared
//! beside the methods in the `.proto` files).

mod actor;
mod denials;

pub use actor::{Actor, Target};
pub use denials::{AuditDenials, Recorder, denials};
