//! CHANGELOG.md: a change of the contract is told there.

use std::fs;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{read, root};

#[test]
fn the_contract_image_is_told() -> Result<()> {
    let image = fs::read(root().join("proto/edgeio.binpb")).context("read proto/edgeio.binpb")?;
    let sum = hex::encode(Sha256::digest(image));
    let changelog = read("CHANGELOG.md")?;
    // An entry is a list item; it may be wrapped.
    let entry = changelog.split("\n- ").find(|entry| entry.contains(&sum));
    assert!(
        entry.is_some_and(|entry| entry.starts_with("Contract: ")),
        "add to CHANGELOG.md what changed: - Contract: .. (`proto/edgeio.binpb` sha256 {sum})"
    );
    Ok(())
}
