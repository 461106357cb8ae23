//! The README's command blocks, run as they stand against a running `edgeio dev`; only the ports are others.
//!
//! Blocks marked `sh` are run; those marked `console` are for reading: they would build, or need other machines.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::dev::{Dev, EDGEIO};

fn blocks(readme: &str) -> Vec<&str> {
    let after = readme.split("\n```sh\n").skip(1);
    after
        .map(|rest| rest.split("\n```").next().unwrap_or_default())
        .collect()
}

/// What a block that has the first must print.
const TELLS: [(&str, &str); 9] = [
    ("127.0.0.1:10000 list", "edgeio.api.v1.ApplicationService"),
    ("describe edgeio.api.v1.ApplicationService", "rpc Apply"),
    ("ApplicationService/Apply", "\"name\": \"greeter\""),
    ("ApplicationService/Watch", "\"token\""),
    ("edgeio apply", "created"),
    ("edgeio get instances", "hello/ticker/0  Running"),
    ("edgeio get clusters", "Ready"),
    ("edgeio describe app hello", "Application  default/hello"),
    ("edgeio delete", "gone"),
];

#[test]
fn every_block_works() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(repository.join("README.md")).unwrap();
    let blocks = blocks(&readme);
    let all = blocks.join("\n");
    for (needed, _) in TELLS {
        assert!(all.contains(needed), "no block has `{needed}`");
    }

    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&directory.path().join("data"), &[]);
    let program = Path::new(EDGEIO).parent().unwrap();
    let path = format!(
        "{}:{}:{}",
        program.display(),
        repository.join(".tools/bin").display(),
        std::env::var("PATH").unwrap_or_default(),
    );
    for block in blocks {
        let script = block
            .replace("127.0.0.1:10000", &dev.root)
            .replace("127.0.0.1:10100", &dev.cluster);
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(&repository)
            .env("PATH", &path)
            .env("EDGEIO_SERVER", &dev.root)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        // A watch has no end: cut short on purpose, it does not succeed.
        let cut = block.contains("-max-time");
        assert!(
            output.status.success() || cut,
            "{}:\n{script}\n{out}\n{err}",
            output.status
        );
        for (asked, told) in TELLS {
            assert!(
                !block.contains(asked) || out.contains(told) || err.contains(told),
                "`{asked}` did not tell `{told}`:\n{out}\n{err}"
            );
        }
    }
    dev.interrupt();
}
