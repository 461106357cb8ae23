//! The programs under test: built once for each run of tests, and those that others made.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, bail};

/// A program of ours, built from the sources as they are now.
///
/// # Errors
/// The build fails; cargo's words are in the error.
pub fn ours(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let dir = BUILT.get_or_init(|| build().map_err(|e| format!("{e:#}")));
    let dir = dir.as_ref().map_err(|why| anyhow!("{why}"))?;
    let program = dir.join(name);
    if !program.is_file() {
        bail!("{} was not built", program.display());
    }
    Ok(program)
}

/// Asks cargo for the programs. It asks for this test too, because then the build has the features that `cargo test
/// --workspace` gave it, and nothing but the programs themselves is left to do.
fn build() -> Result<PathBuf> {
    let test = env::current_exe().context("find this test")?;
    let dir = test
        .parent()
        .and_then(Path::parent)
        .context("this test is not below a target directory")?;
    let target = dir.parent().context("find the target directory")?;
    // Set by `cargo test`; a test that is run by hand takes the one on PATH, which knows its tool chain.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(cargo);
    cargo
        .current_dir(repository())
        .args(["build", "--quiet", "--workspace", "--bins"])
        .args(["--test", "stories", "--target-dir"])
        .arg(target);
    // What cargo tells this test about its own crate: build scripts that look at it would run anew, and all after them.
    let ours = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ours.iter().any(|prefix| text.starts_with(prefix))
            || ["CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR"].contains(&&*text)
        {
            cargo.env_remove(name);
        }
    }
    if dir.file_name() == Some(OsStr::new("release")) {
        cargo.arg("--release");
    }
    let done = cargo.output().context("run cargo")?;
    if !done.status.success() {
        bail!(
            "cargo could not build the programs under test:\n{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(dir.to_owned())
}

/// The repository's root.
#[must_use]
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// A program that `make test` gets, or that the machine has.
///
/// # Errors
/// It is missing; the error says how to get it.
pub fn tool(name: &str) -> Result<PathBuf> {
    let tools = repository().join(".tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools)
        .chain(env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is missing: integration-tests/tools/get-tools gets it"))
}
