//! The node engine: inventory, ledger, instance loop and runtimes.

pub mod inventory;
pub mod ledger;
pub mod node;
pub mod runtime;
pub mod shim;
