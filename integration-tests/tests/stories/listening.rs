//! A worker listens on no port, nor do its shims: it works behind any NAT, and nobody can knock.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed,
    manifest::{app, native},
    native::shims,
};

/// Processes that listen, by `ss -ltnp` and `ss -lunp`.
fn listeners() -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for kind in ["-ltnp", "-lunp"] {
        let done = Command::new("ss").arg(kind).output().context("run ss")?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        for part in text.split("pid=").skip(1) {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            found.insert(digits.parse().with_context(|| text.clone())?);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_worker_listens_nowhere() -> Result<()> {
    let bed = Testbed::new("listening").cluster("a").worker("a1");
    bed.run(async |bed| {
        let root = bed.root();
        root.apply(&app("shop", [bed.mark(native("job", 2))]))
            .await?;
        root.running("shop", "job", 2).await?;
        let listeners = listeners()?;
        let pid = |name: &str| bed.program(name)?.pid().context("it does not run");
        // The look itself works: these do listen.
        for name in ["root", "cluster-a", "nats-a"] {
            ensure!(listeners.contains(&pid(name)?), "ss does not show {name}");
        }
        let shims = shims(bed.dir());
        ensure!(shims.len() == 2, "{shims:?}");
        let quiet = [pid("a1")?, pid("bridge-a")?];
        for pid in quiet.into_iter().chain(shims.iter().map(|s| s.pid)) {
            ensure!(!listeners.contains(&pid), "{pid} listens");
        }
        root.delete("shop").await?;
        root.gone("shop").await
    })
    .await
}
