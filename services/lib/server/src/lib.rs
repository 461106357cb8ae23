//! The chassis that every binary shares: config, telemetry, health, reflection, shutdown, status map.
