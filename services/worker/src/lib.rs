//! The node engine: inventory, ledger, instance loop and runtimes.

pub mod inventory;
pub mod runtime;
pub mod shim;
