//! The bridge between a real nats-server and a cluster that this test serves, with real workers' buses.

#[cfg(test)]
mod bed;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod newer;
#[cfg(test)]
mod traffic;
