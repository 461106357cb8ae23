//! What a release binary must not hold: the fake runtime, the disturbed bus, planted bugs, or anything else that only tests enable.
//!
//! Two looks. By features: each binary's own build enables none of our crates' features but those listed. By bytes: whatever
//! release binaries `make build` has left hold no marker of such code.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{assert_none, packages, read, root, rust_files, stdout, text};

/// Features of ours that users build with.
const FOR_USERS: &[&str] = &["containerd", "default", "dev"];

/// Packages with a program that users get, and the programs' names.
fn shipped() -> Result<Vec<(String, Vec<String>)>> {
    let mut all = Vec::new();
    for package in packages()? {
        let targets = package["targets"].as_array().context("targets")?;
        let is_bin = |t: &&Value| {
            t["kind"]
                .as_array()
                .is_some_and(|k| k.iter().any(|k| k == "bin"))
        };
        let bins: Vec<String> = targets
            .iter()
            .filter(is_bin)
            .map(|t| text(t, "name").to_owned())
            .collect();
        if !bins.is_empty() && text(&package, "name") != "edgeio-integration-tests" {
            all.push((text(&package, "name").to_owned(), bins));
        }
    }
    Ok(all)
}

/// `crate: feature` for each feature of our crates that a build of `package` alone enables.
fn features(package: &str, more: &[&str]) -> Result<Vec<String>> {
    let mut args = vec![
        "tree",
        "--offline",
        "--package",
        package,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}|{f}",
    ];
    args.extend(more);
    let mut found = Vec::new();
    for line in stdout(env!("CARGO"), &args)?
        .lines()
        .filter(|line| line.starts_with("edgeio-"))
    {
        let (of, enabled) = line.split_once('|').context("cargo tree's format")?;
        let of = of.split(' ').next().unwrap_or_default();
        // cargo marks what it has printed before.
        let enabled = enabled.trim_end_matches(" (*)");
        found.extend(
            enabled
                .split(',')
                .filter(|f| !f.is_empty())
                .map(|f| format!("{of}: {f}")),
        );
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn for_tests_only(found: Vec<String>) -> Vec<String> {
    let users = |f: &String| {
        FOR_USERS
            .iter()
            .any(|user| f.ends_with(&format!(": {user}")))
    };
    found.into_iter().filter(|f| !users(f)).collect()
}

#[test]
fn no_program_is_built_with_a_feature_of_tests() -> Result<()> {
    let mut offenders = Vec::new();
    for (package, _) in shipped()? {
        let found = for_tests_only(features(&package, &[])?);
        offenders.extend(
            found
                .into_iter()
                .map(|feature| format!("{package} enables {feature}")),
        );
    }
    assert_none("features that only tests may enable", &offenders);
    Ok(())
}

#[test]
fn a_build_with_the_fake_runtime_is_told_apart() -> Result<()> {
    let found = for_tests_only(features("edgeio-worker", &["--features", "fake"])?);
    assert_eq!(found, ["edgeio-worker: fake"]);
    Ok(())
}

#[test]
fn a_build_with_a_disturbed_bus_is_told_apart() -> Result<()> {
    let found = for_tests_only(features("edgeio-bridge", &["--features", "chaos"])?);
    assert_eq!(found, ["edgeio-bridge: chaos"]);
    Ok(())
}

/// The values of the constants named MARKER: each stands in code that only tests may build.
fn markers() -> Result<Vec<String>> {
    let mut all = Vec::new();
    for name in rust_files()? {
        for line in read(&name)?
            .lines()
            .filter(|line| line.contains("const MARKER: &str"))
        {
            let value = line
                .split('"')
                .nth(1)
                .with_context(|| format!("{name}: {line}"))?;
            all.push(value.to_owned());
        }
    }
    Ok(all)
}

#[test]
fn release_binaries_hold_no_marker_of_test_code() -> Result<()> {
    let markers = markers()?;
    assert!(
        !markers.is_empty(),
        "no constant named MARKER: the fake runtime must carry one"
    );
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let mut offenders = Vec::new();
    for program in shipped()?.into_iter().flat_map(|(_, programs)| programs) {
        // Absent unless `make build` or `make bench` ran here: the look by features stands for it then.
        let Ok(bytes) = fs::read(target.join("release").join(&program)) else {
            continue;
        };
        let holds = |marker: &&String| {
            bytes
                .windows(marker.len())
                .any(|part| part == marker.as_bytes())
        };
        offenders.extend(
            markers
                .iter()
                .filter(holds)
                .map(|marker| format!("{program} holds {marker}")),
        );
    }
    assert_none(
        "test code in a release binary: build it alone, by `make build`",
        &offenders,
    );
    Ok(())
}
