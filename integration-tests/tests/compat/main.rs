//! What earlier versions wrote is read with the meaning that it had: messages, a conversation, a ledger, databases.
//!
//! The recordings are in `tests/fixtures`; `examples/record` made them. A failure here is a break for whoever upgrades in place or
//! runs mixed versions, never a reason to record again.

mod conversation;
mod messages;
mod stored;
#[path = "../../examples/record/summary.rs"]
mod summary;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

/// The recordings, by version.
const VERSIONS: &[&str] = &["v1"];

fn recording(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(version)
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn meaning(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
}

#[test]
fn every_recording_is_tested() -> Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(recording(""))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found.sort();
    assert_eq!(found, VERSIONS, "name a new recording in VERSIONS");
    Ok(())
}
