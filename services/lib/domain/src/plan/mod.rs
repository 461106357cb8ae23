//! The planners: pure functions from what is wanted and what is seen to what shall be done.
//!
//! A plan is a value. It carries every detail, so that carrying it out makes no choice, and planning again after it was
//! carried out finds nothing to do.

pub mod copies;
pub mod instance;
pub mod lease;
pub mod slots;
pub mod tier;
