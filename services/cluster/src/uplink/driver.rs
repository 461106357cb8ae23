//! placeholder for the driver of the uplink
