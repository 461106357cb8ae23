//! Test bed over real processes, stories, simulation, hostile input and benches.

pub mod sim;
pub mod targets;
pub mod testbed;
