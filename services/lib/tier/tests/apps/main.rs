//! What people ask of a tier, on the store in memory, with the production engine beside it.

mod apply;
mod children;
mod delete;
mod lists;
mod once;
mod plan;
mod scale;
mod support;
mod watch;
mod wire;
