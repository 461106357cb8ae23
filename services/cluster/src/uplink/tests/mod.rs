//! The uplink over a store in memory, with a root that is played by hand.

mod bed;
mod offers;
mod orders;
mod owned;
mod states;
