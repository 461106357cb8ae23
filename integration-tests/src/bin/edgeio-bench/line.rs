//! placeholder for a moment: the line of real processes.
