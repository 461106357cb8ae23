//! One order of versions: some programs begin as the version before, are upgraded in place, and rolled back where that is possible.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Figure, Testbed, binaries,
    containers::Container,
    eventually,
    manifest::{app, container, native},
    native::Process,
};

use super::say;

/// A story.
pub(super) struct Story {
    pub(super) name: &'static str,
    /// What begins as the version before.
    old: &'static [&'static str],
    /// Whether the version before can go on with what this version has written. Otherwise it says so and changes nothing.
    goes_back: bool,
}

/// Both orders. The tiers' databases are brought forward and never back.
pub(super) const ALL: &[Story] = &[
    Story {
        name: "old worker and bridge, new cluster and root",
        old: &["bridge-a", "a1"],
        goes_back: true,
    },
    Story {
        name: "new worker and bridge, old cluster and root",
        old: &["root", "cluster-a"],
        goes_back: false,
    },
];

/// What the machine shows of jobs that nobody may touch.
#[derive(Debug, PartialEq, Eq)]
struct Untouched {
    jobs: BTreeSet<Process>,
    containers: BTreeSet<Container>,
}

impl Story {
    /// Tells it.
    pub(super) async fn tell(&self, before: &Path) -> Result<()> {
        let mut bed = Testbed::new("versions").cluster("a").worker("a1");
        for name in self.old {
            bed = bed.begins_as(name, before.join(program(name)));
        }
        for (text, because) in [
            ("root is away", "the root is killed"),
            ("detached from the cluster", "the cluster is killed"),
            ("cannot attach to the cluster", "the cluster is killed"),
            (
                "newer version of edgeIO",
                "an old program meets a new database",
            ),
        ] {
            bed = bed.expect(text, because);
        }
        bed.run(async |bed| {
            let image = bed.image().await?;
            let root = bed.root();
            let shop = [bed.mark(native("job", 3)), container("web", 1, &image)];
            root.apply(&app("shop", shop)).await?;
            root.running("shop", "job", 3).await?;
            root.running("shop", "web", 1).await?;
            let first = untouched(bed, "shop", 3).await?;
            changes(bed, "mixed").await?;
            same(bed, &first, "while versions were mixed").await?;

            for name in self.old {
                replace(bed, name, binaries::ours(program(name))?).await?;
                same(bed, &first, &format!("after {name} was upgraded")).await?;
            }
            changes(bed, "upgraded").await?;
            same(bed, &first, "after the upgrade").await?;

            for name in self.old {
                let old = before.join(program(name));
                if self.goes_back {
                    replace(bed, name, old).await?;
                } else {
                    refuses(bed, name, old).await?;
                    bed.program(name)?.becomes(binaries::ours(program(name))?);
                    bed.start(name).await?;
                    bed.ready(&["a1"]).await?;
                }
                same(bed, &first, &format!("after {name} was rolled back")).await?;
            }
            changes(bed, "back").await?;
            same(bed, &first, "at the end").await?;
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
    }
}

/// Kills a program and starts another version of it on the same data.
async fn replace(bed: &Bed, name: &str, file: PathBuf) -> Result<()> {
    bed.kill(name).await?;
    bed.program(name)?.becomes(file);
    bed.start(name).await?;
    let from = Instant::now();
    bed.ready(&["a1"]).await?;
    changes(bed, &format!("after-{name}")).await?;
    Figure::of(&format!("version-of-{}", name.replace("-a", "")))
        .took("convergence", from.elapsed())
        .print();
    say(&format!(
        "{name} replaced; an application came, grew, changed and went in {:.1?}",
        from.elapsed()
    ));
    Ok(())
}

/// The version before cannot use what this one has written, says so in one sentence, and ends.
async fn refuses(bed: &Bed, name: &str, old: PathBuf) -> Result<()> {
    let program = bed.program(name)?;
    bed.kill(name).await?;
    program.becomes(old);
    let printed = program.printed().len();
    // It may be found listening for a moment, before it has opened its database.
    let started = bed.start(name).await;
    let status = program.ended().await?;
    ensure!(!status.success(), "{name} ended with {status}: {started:?}");
    let said = program.printed();
    let said = said.get(printed..).unwrap_or_default();
    let clear = ["made by a newer version of edgeIO", "start that version"];
    ensure!(
        clear.iter().all(|part| said.contains(part)),
        "{name} said {said}"
    );
    Ok(())
}

/// Users go on wishing: an application comes, grows, changes and goes.
async fn changes(bed: &Bed, name: &str) -> Result<()> {
    let root = bed.root();
    let mut job = bed.mark(native("brief", 2));
    root.apply(&app(name, [job.clone()])).await?;
    root.running(name, "brief", 2).await?;
    root.scale(name, "brief", 3).await?;
    let before = root.running(name, "brief", 3).await?;
    job.env.insert("VARIANT".to_owned(), "2".to_owned());
    job.replicas = Some(1);
    root.apply(&app(name, [job])).await?;
    eventually("the new variant runs", async || {
        let now = root.running(name, "brief", 1).await?;
        ensure!(now.keys().all(|id| !before.contains_key(id)), "{now:?}");
        Ok(())
    })
    .await?;
    root.delete(name).await?;
    root.gone(name).await
}

async fn same(bed: &Bed, first: &Untouched, when: &str) -> Result<()> {
    bed.root().running("shop", "job", 3).await?;
    bed.root().running("shop", "web", 1).await?;
    let now = untouched(bed, "shop", first.jobs.len()).await?;
    ensure!(now == *first, "{when}: {now:?} was {first:?}");
    Ok(())
}

/// The processes and containers of an application, once the kernel shows no others of this bed.
async fn untouched(bed: &Bed, of: &str, jobs: usize) -> Result<Untouched> {
    eventually(
        &format!("the jobs of {of} run, and no others"),
        async || {
            let now = Untouched {
                jobs: bed.jobs(),
                containers: bed.containers().await?.into_values().collect(),
            };
            let told = bed.root().instances(of).await?;
            let handles: BTreeSet<&str> = told.iter().map(|i| i.handle.as_str()).collect();
            let seen = now.jobs.iter().map(Process::handle);
            let all = seen.chain(now.containers.iter().map(|c| c.id.clone()));
            ensure!(
                now.jobs.len() == jobs
                    && now.containers.len() == 1
                    && all
                        .into_iter()
                        .all(|handle| handles.contains(handle.as_str())),
                "{now:?}, told {handles:?}"
            );
            Ok(now)
        },
    )
    .await
}

/// What a program of the bed is called.
fn program(name: &str) -> &'static str {
    match name {
        "root" => "edgeio-root",
        "cluster-a" => "edgeio-cluster",
        "bridge-a" => "edgeio-bridge",
        _ => "edgeio-worker",
    }
}
