//! Which crate may know which: the table of ARCHITECTURE.md, and the purity of the crates that the simulation relies on.
//!
//! Foreign crates behind one crate of ours (SQL, NATS, Docker) are banned elsewhere by `wrappers` in deny.toml.

use anyhow::{Context, Result};

use super::{assert_none, packages, read, rust_files, text};

/// Crate, and what of ours it may depend on. A dependency for tests counts too.
const WALLS: &[(&str, &[&str])] = &[
    ("edgeio-proto", &[]),
    ("edgeio-domain", &[]),
    ("edgeio-scheduler", &["domain"]),
    ("edgeio-store", &["domain"]),
    ("edgeio-link", &["proto", "domain"]),
    ("edgeio-server", &["proto", "domain"]),
    ("edgeio-client", &["proto"]),
    (
        "edgeio-tier",
        &["domain", "scheduler", "store", "link", "server", "proto"],
    ),
    ("edgeio-root", LIB),
    ("edgeio-cluster", LIB),
    ("edgeio-bridge", &["proto", "client", "server"]),
    (
        "edgeio-worker",
        &["proto", "domain", "link", "client", "server", "bridge"],
    ),
    ("edgeio-cli", EVERYTHING),
    ("edgeio-integration-tests", EVERYTHING),
];

const LIB: &[&str] = &[
    "proto",
    "domain",
    "scheduler",
    "store",
    "link",
    "server",
    "client",
    "tier",
];
const EVERYTHING: &[&str] = &[
    "proto",
    "domain",
    "scheduler",
    "store",
    "link",
    "server",
    "client",
    "tier",
    "root",
    "cluster",
    "worker",
    "bridge",
    "cli",
];
/// What the command line holds only with its `dev` feature.
const SERVICES: &[&str] = &[
    "tier",
    "store",
    "scheduler",
    "link",
    "root",
    "cluster",
    "worker",
    "bridge",
];

/// Crates whose state machines are given clock, ids and I/O: the simulation runs them under virtual time.
const PURE: &[&str] = &[
    "services/lib/domain/src/",
    "services/lib/scheduler/src/",
    "services/lib/link/src/",
];
const IMPURE: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "now_v7(",
    "new_v4(",
    "rand::",
    "tokio::",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
];

#[test]
fn each_crate_depends_only_on_what_the_table_allows() -> Result<()> {
    let mut offenders = Vec::new();
    for package in packages()? {
        let name = text(&package, "name");
        let Some((_, allowed)) = WALLS.iter().find(|(of, _)| *of == name) else {
            offenders.push(format!("{name} is not in the table"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().context("dependencies")?;
        for dependency in dependencies
            .iter()
            .map(|d| text(d, "name"))
            .filter(|d| *d != name)
        {
            if let Some(ours) = dependency.strip_prefix("edgeio-")
                && !allowed.contains(&ours)
            {
                offenders.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    assert_none(
        "dependencies that ARCHITECTURE.md does not allow",
        &offenders,
    );
    Ok(())
}

#[test]
fn the_command_line_without_dev_holds_no_service() -> Result<()> {
    let packages = packages()?;
    let cli = packages
        .iter()
        .find(|p| text(p, "name") == "edgeio-cli")
        .context("edgeio-cli")?;
    let dependencies = cli["dependencies"].as_array().context("dependencies")?;
    let always = dependencies
        .iter()
        .filter(|d| d["kind"].is_null() && d["optional"] == false);
    let offenders: Vec<String> = always
        .map(|d| text(d, "name"))
        .filter(|d| {
            d.strip_prefix("edgeio-")
                .is_some_and(|ours| SERVICES.contains(&ours))
        })
        .map(|d| format!("{d}: make it `optional = true`, enabled by the feature `dev`"))
        .collect();
    assert_none("services in the slim command line", &offenders);
    Ok(())
}

#[test]
fn pure_crates_take_clock_ids_and_io_as_arguments() -> Result<()> {
    let mut offenders = Vec::new();
    for name in rust_files()?
        .iter()
        .filter(|name| PURE.iter().any(|p| name.starts_with(p)))
    {
        let source = read(name)?;
        // Unit tests below the code may do as they like.
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim_start().starts_with("//"))
        {
            let found = IMPURE.iter().filter(|word| line.contains(*word));
            offenders.extend(found.map(|word| format!("{name}:{}: {word}", number + 1)));
        }
    }
    assert_none(
        "clock, random or I/O in a pure crate: take it as an argument",
        &offenders,
    );
    Ok(())
}

#[test]
fn docker_is_spoken_to_in_one_folder() -> Result<()> {
    let mut offenders = Vec::new();
    for name in rust_files()?
        .iter()
        .filter(|name| name.starts_with("services/worker/src/"))
    {
        if !name.starts_with("services/worker/src/runtime/") && read(name)?.contains("bollard::") {
            offenders.push(name.clone());
        }
    }
    assert_none("bollard outside services/worker/src/runtime", &offenders);
    Ok(())
}
