//! Tidy: the house rules that a test can check, over the files of this repository.
//!
//! One module a subject: `walls` (which crate knows which), `source` (how a Rust file looks), `layout` (where things are and
//! how large), `manifests` (Cargo.toml), `release` (what a release binary must not hold), `changelog`. Each test names every
//! offender at once, with what to do. Deliberately absent: what rustc, clippy, rustfmt, buf and cargo-deny check already.

mod changelog;
mod layout;
mod manifests;
mod release;
mod source;
mod walls;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file that git tracks or would track, relative to the root; those that are deleted in the work tree left out.
fn files() -> Result<Vec<String>> {
    let args = [
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ];
    let listed = stdout("git", &args)?;
    let names = listed.split('\0').filter(|name| !name.is_empty());
    Ok(names
        .filter(|name| root().join(name).is_file())
        .map(str::to_owned)
        .collect())
}

/// The Rust files, tidy's own left out: they quote what they look for.
fn rust_files() -> Result<Vec<String>> {
    let ours =
        |name: &String| name.ends_with(".rs") && !name.starts_with("integration-tests/tests/tidy/");
    Ok(files()?.into_iter().filter(ours).collect())
}

/// Whether a file is there for tests or benches only.
fn is_test(name: &str) -> bool {
    name.split('/')
        .any(|part| matches!(part, "tests" | "benches" | "fuzz") || part == "tests.rs")
}

fn read(name: &str) -> Result<String> {
    fs::read_to_string(root().join(name)).with_context(|| format!("read {name}"))
}

/// What a program prints, run at the root.
fn stdout(program: &str, args: &[&str]) -> Result<String> {
    let done = Command::new(program)
        .args(args)
        .current_dir(root())
        .output()
        .with_context(|| format!("run {program}"))?;
    let error = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "{program} {}: {error}",
        args.join(" ")
    );
    String::from_utf8(done.stdout).with_context(|| format!("what {program} printed"))
}

/// The workspace's packages as cargo sees them, with their direct dependencies.
fn packages() -> Result<Vec<Value>> {
    let args = [
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ];
    let all: Value = serde_json::from_str(&stdout(env!("CARGO"), &args)?)?;
    all["packages"]
        .as_array()
        .cloned()
        .context("cargo metadata lists no packages")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Fails with the rule and every offender.
fn assert_none(rule: &str, offenders: &[String]) {
    assert!(
        offenders.is_empty(),
        "{rule}\n  {}\n",
        offenders.join("\n  ")
    );
}
