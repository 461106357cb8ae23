//! The node engine: inventory, ledger, instance loop and runtimes.

pub mod runtime;
pub mod shim;
