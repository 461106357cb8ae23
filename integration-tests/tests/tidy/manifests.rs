//! Cargo.toml files: lints and versions are said once, in the workspace.

use anyhow::Result;

use super::{assert_none, files, read};

fn members() -> Result<Vec<String>> {
    Ok(files()?
        .into_iter()
        // Not of the workspace: cargo-fuzz needs one of its own.
        .filter(|name| name.ends_with("/Cargo.toml") && !name.contains("/fuzz/"))
        .collect())
}

#[test]
fn each_crate_inherits_the_lints() -> Result<()> {
    let mut offenders = Vec::new();
    for name in members()? {
        if !read(&name)?.contains("[lints]\nworkspace = true\n") {
            offenders.push(name);
        }
    }
    assert_none("add `[lints]` with `workspace = true`", &offenders);
    Ok(())
}

#[test]
fn versions_are_named_once() -> Result<()> {
    let mut offenders = Vec::new();
    for name in members()? {
        let mut dependencies = false;
        for (number, line) in read(&name)?.lines().enumerate() {
            if line.starts_with('[') {
                dependencies = line.contains("dependencies");
            } else if dependencies
                && line.contains('=')
                && !line.starts_with('#')
                && !line.contains("workspace = true")
                // A crate that depends on itself for its tests.
                && !line.contains("path = \".\"")
            {
                offenders.push(format!("{name}:{}: {line}", number + 1));
            }
        }
    }
    assert_none(
        "name the version in the workspace's Cargo.toml and write `workspace = true`",
        &offenders,
    );
    Ok(())
}

#[test]
fn each_crate_inherits_what_the_workspace_says_of_itself() -> Result<()> {
    let mut offenders = Vec::new();
    for name in members()? {
        let manifest = read(&name)?;
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !manifest.contains(&format!("\n{key}.workspace = true\n")) {
                offenders.push(format!("{name}: {key}.workspace = true"));
            }
        }
    }
    assert_none("missing in [package]", &offenders);
    Ok(())
}
