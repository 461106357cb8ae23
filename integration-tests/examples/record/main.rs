//! Records what this version writes, so that later versions can be held to reading it: messages, a conversation on the bus,
//! a worker's ledger, and the databases of root and cluster.
//!
//! `cargo run -p edgeio-integration-tests --example record -- integration-tests/tests/fixtures/vN`, at the commit whose words are
//! to be kept. What it writes is never edited and never recorded again: a test that fails on it found a break. Beside each
//! binary file stands its meaning as JSON, told by this version. Keys and credentials are not recorded.

mod bed;
mod messages;
mod summary;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

#[tokio::main]
async fn main() -> Result<()> {
    let dir: PathBuf = std::env::args_os()
        .nth(1)
        .context("name the directory to write to")?
        .into();
    ensure!(
        !dir.join("messages").exists(),
        "{} holds a recording already: it is never written over",
        dir.display()
    );
    messages::record(&dir.join("messages"))?;
    bed::record(&dir).await
}
