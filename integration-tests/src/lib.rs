//! Test bed over real processes, stories, simulation and benches.

pub mod sim;
pub mod testbed;
