//! Test bed over real processes, stories, simulation and benches.
