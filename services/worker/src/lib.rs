//! The node engine: inventory, ledger, instance loop and runtimes.
//!
//! [`node`] decides, without I/O; [`ledger`] keeps what must last; [`runtime`] runs jobs; [`agent`] drives them on the
//! machine's clocks and the bus. [`run`] is a whole worker, also inside another program.

pub mod agent;
pub mod config;
pub mod inventory;
pub mod ledger;
pub mod node;
pub mod policy;
pub mod runtime;
pub mod shim;

pub use agent::{LeaveError, RunError, RunOptions, leave, run, run_with};
pub use config::{Config, LeaveConfig};
