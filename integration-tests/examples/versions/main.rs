//! Two versions at a time, on the real stack: what users run is never touched by an upgrade, a rollback or a mixture.
//!
//! `integration-tests/tools/chaos-versions` builds the programs of the version before and calls this with their directory.

mod story;

use std::{io::Write as _, path::PathBuf, time::Instant};

use anyhow::{Context, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let before = std::env::args_os().nth(1).map(PathBuf::from);
    let before = before.context("name the directory with the programs of the version before")?;
    for story in story::ALL {
        let from = Instant::now();
        let told = story.tell(&before).await;
        told.with_context(|| format!("`{}`", story.name))?;
        say(&format!("{}: held, {:.1?}", story.name, from.elapsed()));
    }
    Ok(())
}

fn say(figure: &str) {
    let _ = writeln!(std::io::stderr(), "chaos versions: {figure}");
}
