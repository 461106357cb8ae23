//! The stories that must be seen on real processes: root, cluster, bridge, workers, nats-server and Docker.
//!
//! One module a subject; each test sets up its own bed, so they may run side by side. What a story did not expect in a log, or
//! finds left behind at its end, fails it: see `testbed`.

mod absent;
mod ages;
mod autonomy;
mod bridges;
mod climbs;
mod clusters;
mod containerd;
mod database;
mod exclusive;
mod grpcurl;
mod held;
mod kill;
mod listening;
mod meddling;
mod owners;
mod passes;
mod placement;
mod power;
mod pull;
mod reboot;
mod refusals;
mod restart;
mod returned;
mod scale;
mod secure;
mod seen;
mod silence;
mod stop;
mod trust;
