//! `edgeio dev` with real parts: a real nats-server and native jobs. And the README, run block by block.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken set-up must fail the test"
)]

mod dev;
mod meaning;
mod readme;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dev::{Dev, PATIENCE};
use serde_json::Value;

const MANIFEST: &str = "\
application:
  name: sleepers
  services:
    - {name: sleeper, replicas: 3, command: [sleep, '100000'], stopGrace: 1s}
";

fn manifest(directory: &Path) -> PathBuf {
    let file = directory.join("sleepers.yaml");
    std::fs::write(&file, MANIFEST).unwrap();
    file
}

/// What the running instances are called by their runtime: `PID@START`, so that a process that was started again has another one.
fn handles(dev: &Dev) -> BTreeSet<String> {
    let list = dev.ok(&["get", "instances", "sleepers", "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let instances = list["instances"].as_array().cloned().unwrap_or_default();
    let running = instances
        .iter()
        .filter(|i| i["phase"] == "INSTANCE_PHASE_RUNNING");
    running
        .filter_map(|i| i["handle"].as_str().map(str::to_owned))
        .collect()
}

fn is_alive(handle: &str) -> bool {
    let pid = handle.split('@').next().unwrap_or_default();
    assert!(pid.parse::<u32>().is_ok(), "{handle}");
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.starts_with(b"sleep\0")
}

fn eventually(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(()) => return,
            Err(last) if Instant::now() > deadline => panic!("not {what}; last seen: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Waits until three instances run, and answers their handles.
fn three_running(dev: &Dev) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    eventually("three running", || {
        seen = handles(dev);
        if seen.len() == 3 {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
    seen
}

#[test]
fn jobs_end_with_it_come_back_with_it_and_may_outlive_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let file = manifest(directory.path());

    let dev = Dev::start(&data, &["--workers", "2"]);
    let workers = dev.ok(&["get", "workers", "-o", "json", "--server", &dev.cluster]);
    assert_eq!(
        workers.matches("WORKER_STATE_READY").count(),
        2,
        "{workers}"
    );
    dev.ok(&[
        "apply",
        "-f",
        file.to_str().unwrap(),
        "--wait",
        "--timeout",
        "2m",
    ]);
    let first = three_running(&dev);
    assert!(first.iter().all(|handle| is_alive(handle)), "{first:?}");
    dev.interrupt();
    assert!(
        !first.iter().any(|handle| is_alive(handle)),
        "jobs are left: {first:?}"
    );

    // What was applied stays, and runs again.
    let dev = Dev::start(&data, &["--workers", "2", "--keep-jobs"]);
    let mut second = BTreeSet::new();
    eventually("three new ones running", || {
        second = handles(&dev);
        if second.len() == 3 && second.is_disjoint(&first) {
            Ok(())
        } else {
            Err(format!("{second:?}"))
        }
    });
    dev.interrupt();
    assert!(
        second.iter().all(|handle| is_alive(handle)),
        "jobs were not kept: {second:?}"
    );

    // What went on is taken over as it is.
    let dev = Dev::start(&data, &["--workers", "2"]);
    assert_eq!(three_running(&dev), second);
    dev.ok(&["delete", "sleepers", "--wait", "--timeout", "2m"]);
    assert!(
        !second.iter().any(|handle| is_alive(handle)),
        "jobs are left: {second:?}"
    );
    dev.interrupt();
}

#[test]
fn a_second_one_says_what_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&directory.path().join("one"), &[]);
    let output = std::process::Command::new(dev::EDGEIO)
        .args(["dev", "--root-listen", &dev.root, "--data-dir"])
        .arg(directory.path().join("two"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&dev.root) && said.contains("--root-listen"),
        "{said}"
    );

    let output = std::process::Command::new(dev::EDGEIO)
        .args(["dev", "--root-listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("loopback"), "{said}");
    dev.interrupt();
}
