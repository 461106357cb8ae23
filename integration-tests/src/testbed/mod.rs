//! A bed of real processes: root, clusters with broker and bridge, workers, on a real Docker Engine.
//!
//! ```no_run
//! # use edgeio_integration_tests::testbed::{Testbed, manifest::{app, native}};
//! # async fn story() -> anyhow::Result<()> {
//! Testbed::new("three").cluster("a").worker("a1").run(async |bed| {
//!     bed.root().apply(&app("shop", [bed.mark(native("job", 3))])).await?;
//!     bed.root().running("shop", "job", 3).await?;
//!     bed.root().delete("shop").await?;
//!     bed.root().gone("shop").await
//! }).await
//! # }
//! ```
//!
//! A story fails when it says so, and also when a program complained unexpectedly, did not end with code 0 when asked to, or
//! left a container, a shim or a job behind. Then the last lines of every log are printed and the files stay. Whatever
//! happens, nothing that the bed started lives on. Times are short so that stories are; none depends on them.

pub mod binaries;
pub mod containerd;
pub mod containers;
pub mod diary;
pub mod manifest;
pub mod native;
pub mod proxy;
pub mod registry;
pub mod stolen;
pub mod tier;

mod bed;
mod disk;
mod figure;
mod link;
mod logs;
mod plan;
mod ports;
mod program;
mod wait;

pub use self::{
    bed::Bed,
    disk::fill,
    figure::Figure,
    link::{Link, Way},
    plan::Testbed,
    ports::{free_port, loopback},
    program::Program,
    tier::Tier,
    wait::{eventually, eventually_within},
};
