//! The edgeio command line.
