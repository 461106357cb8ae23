//! The broker as the cluster configures it, on real nats-servers: the oldest one that is supported and the newest.
//!
//! `config`: what is written is taken. `matrix`: who may publish and hear what, and that nothing leaks. `limits`: sizes and
//! numbers. `entry`: who is let in, and who is thrown out.

mod config;
mod entry;
mod limits;
mod matrix;
mod site;
