//! Where things are, and how large.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{assert_none, files, is_test, read, rust_files};

const FOLDERS: &[&str] = &["proto", "services", "bridge", "charts", "integration-tests"];
const FILES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "Dockerfile",
    "clippy.toml",
    "deny.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
];

/// Lines of a file outside tests: never more than the first; the median and nine of ten stay under the others.
const LARGEST: usize = 800;
const MEDIAN: usize = 200;
const NINE_OF_TEN: usize = 500;
/// Lines of a main.rs: arguments, configuration, telemetry, listeners, run, exit code.
const MAIN: usize = 40;

#[test]
fn the_top_level_is_a_short_list() -> Result<()> {
    let mut offenders = BTreeSet::new();
    for name in files()?.iter().filter(|name| !name.starts_with('.')) {
        match name.split_once('/') {
            Some((folder, _)) if !FOLDERS.contains(&folder) => {
                offenders.insert(format!("{folder}/"))
            }
            None if !FILES.contains(&name.as_str()) => offenders.insert(name.clone()),
            _ => continue,
        };
    }
    let offenders: Vec<String> = offenders.into_iter().collect();
    assert_none(
        "not a top-level folder or file (see ARCHITECTURE.md)",
        &offenders,
    );
    Ok(())
}

#[test]
fn files_are_about_one_thing() -> Result<()> {
    let mut sizes = Vec::new();
    for name in rust_files()?.into_iter().filter(|name| !is_test(name)) {
        sizes.push((read(&name)?.lines().count(), name));
    }
    sizes.sort();
    let large = sizes.iter().filter(|(lines, _)| *lines > LARGEST);
    let offenders: Vec<String> = large
        .map(|(lines, name)| format!("{name}: {lines} lines"))
        .collect();
    assert_none("split by what it is about", &offenders);
    let (median, nine_of_ten) = (sizes[sizes.len() / 2].0, sizes[sizes.len() * 9 / 10].0);
    let largest: Vec<&(usize, String)> = sizes.iter().rev().take(10).collect();
    assert!(
        median < MEDIAN,
        "the median file has {median} lines; the largest: {largest:#?}"
    );
    assert!(
        nine_of_ten < NINE_OF_TEN,
        "one file of ten has {nine_of_ten} lines or more: {largest:#?}"
    );
    Ok(())
}

#[test]
fn main_is_a_table_of_contents() -> Result<()> {
    let mut offenders = Vec::new();
    let mains = |name: &String| name.ends_with("/main.rs") && !is_test(name);
    for name in rust_files()?.into_iter().filter(mains) {
        let lines = read(&name)?.lines().count();
        if lines >= MAIN {
            offenders.push(format!("{name}: {lines} lines"));
        }
    }
    assert_none(
        "a main.rs stays under 40 lines: the rest belongs in its library",
        &offenders,
    );
    Ok(())
}
