//! An old copy of a database is put back while jobs run: a root's, a cluster's, a worker's ledger. Nothing is killed, nothing is
//! started twice; what runs is known again from what the others report, and later wishes hold.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Figure, Testbed, diary::Diary, eventually, manifest::app, tier::sketch,
};

use crate::{commits::keep, say, seen::Seen};

fn bed(name: &str) -> Testbed {
    Testbed::new(name)
        .cluster("a")
        .worker_with("a1", &["--docker=off"])
        .worker_with("a2", &["--docker=off"])
        .expect("root is away", "it is killed")
        .expect("detached from the cluster", "the cluster is killed")
        .expect("cannot attach to the cluster", "the cluster is killed")
        .expect(
            "another session of this worker",
            "an old database counts sessions anew",
        )
        .expect(
            "found an instance of this worker that its ledger does not know",
            "an old ledger was put back",
        )
}

/// Kills a program and keeps a copy of its files; it runs on.
async fn copy(bed: &Bed, name: &str) -> Result<std::path::PathBuf> {
    let copy = bed.dir().join(format!("{name}.copy"));
    bed.kill(name).await?;
    keep(&bed.data(name), &copy)?;
    bed.start(name).await?;
    Ok(copy)
}

/// Kills a program and puts the copy in the place of its files.
async fn put_back(bed: &Bed, name: &str, copy: &Path) -> Result<()> {
    bed.kill(name).await?;
    forget(&bed.data(name))?;
    keep(copy, &bed.data(name))?;
    bed.start(name).await
}

/// Removes the records of a program that is down, not its identity.
fn forget(data: &Path) -> Result<()> {
    for entry in std::fs::read_dir(data).context("list the files")? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_file() && (name.contains(".db") || name.starts_with("ledger")) {
            std::fs::remove_file(&path).context("remove a file")?;
        }
    }
    Ok(())
}

/// Waits until exactly what ran before runs, and no job has begun or ended since.
async fn untouched(bed: &Bed, before: &Seen, starts: usize) -> Result<()> {
    let now = Seen::all(bed).await?;
    ensure!(now == *before, "{before:?} became {now:?}");
    let account = Diary::of(bed).account()?;
    ensure!(
        account.faults.is_empty() && account.starts == starts,
        "{account:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_roots_old_database_kills_nothing() -> Result<()> {
    bed("rootcopy")
        .run(async |bed| {
            let (root, diary) = (bed.root(), Diary::of(bed));
            let shop = |replicas| app("shop", [diary.keeper(bed, "job", replicas, "w0")]);
            let later = app("later", [diary.keeper(bed, "job", 2, "w0")]);
            root.apply(&shop(2)).await?;
            root.running("shop", "job", 2).await?;
            let old = copy(bed, "root").await?;
            root.apply(&shop(4)).await?;
            root.apply(&later).await?;
            let shops = root.running("shop", "job", 4).await?;
            let laters = root.running("later", "job", 2).await?;
            let before = Seen::all(bed).await?;

            put_back(bed, "root", &old).await?;
            let back = Instant::now();
            bed.ready(&["a1", "a2"]).await?;
            eventually("what the old copy does not know is held", async || {
                let all = root.instances("").await?;
                let held = all.iter().filter(|i| i.reason == "Held").count();
                ensure!(all.len() == 6 && held == 4, "{}", sketch(&all));
                Ok(())
            })
            .await?;
            let detected = back.elapsed();
            untouched(bed, &before, 6).await?;
            ensure!(
                root.get("later").await?.is_none(),
                "where did it come from?"
            );

            root.apply(&shop(4)).await?;
            root.apply(&later).await?;
            let applied = Instant::now();
            let again = root.running("shop", "job", 4).await?;
            ensure!(again.keys().eq(shops.keys()), "{again:?} was {shops:?}");
            let again = root.running("later", "job", 2).await?;
            ensure!(again.keys().eq(laters.keys()), "{again:?} was {laters:?}");
            Figure::of("root-database-old-copy")
                .took("detection", detected)
                .took("convergence", applied.elapsed())
                .print();
            untouched(bed, &before, 6).await?;

            root.scale("shop", "job", 1).await?;
            root.running("shop", "job", 1).await?;
            for name in ["later", "shop"] {
                root.delete(name).await?;
                root.gone(name).await?;
                bed.cluster("a")?.gone(name).await?;
            }
            say(
                "copies",
                "root: 4 of 6 jobs held and taken over, none touched",
            );
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_clusters_old_database_kills_nothing_and_brings_nothing_back() -> Result<()> {
    bed("clustercopy")
        .run(async |bed| {
            let (root, diary) = (bed.root(), Diary::of(bed));
            let cluster = bed.cluster("a")?;
            let keeper = |replicas| diary.keeper(bed, "job", replicas, "w0");
            root.apply(&app("shop", [keeper(2)])).await?;
            root.apply(&app("over", [keeper(2)])).await?;
            root.running("shop", "job", 2).await?;
            root.running("over", "job", 2).await?;
            let old = copy(bed, "cluster-a").await?;
            root.apply(&app("shop", [keeper(4)])).await?;
            root.apply(&app("later", [keeper(2)])).await?;
            root.delete("over").await?;
            let shops = root.running("shop", "job", 4).await?;
            let laters = root.running("later", "job", 2).await?;
            root.gone("over").await?;
            let before = Seen::all(bed).await?;

            put_back(bed, "cluster-a", &old).await?;
            let back = Instant::now();
            for tier in [cluster, root] {
                let again = tier.running("shop", "job", 4).await?;
                ensure!(again.keys().eq(shops.keys()), "{again:?} was {shops:?}");
                let again = tier.running("later", "job", 2).await?;
                ensure!(again.keys().eq(laters.keys()), "{again:?} was {laters:?}");
            }
            bed.ready(&["a1", "a2"]).await?;
            eventually("what was over is over", async || {
                let all = cluster.instances("over").await?;
                ensure!(all.is_empty(), "{}", sketch(&all));
                Ok(())
            })
            .await?;
            Figure::of("cluster-database-old-copy")
                .took("convergence", back.elapsed())
                .print();
            untouched(bed, &before, 8).await?;

            root.scale("shop", "job", 1).await?;
            root.running("shop", "job", 1).await?;
            for name in ["later", "shop"] {
                root.delete(name).await?;
                root.gone(name).await?;
            }
            say(
                "copies",
                "cluster: 6 jobs known again, none touched, none brought back",
            );
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_workers_old_ledger_and_none_at_all_kill_nothing() -> Result<()> {
    bed("ledgercopy")
        .run(async |bed| {
            let (root, diary) = (bed.root(), Diary::of(bed));
            let shop = |replicas| app("shop", [diary.keeper(bed, "job", replicas, "w0")]);
            root.apply(&shop(2)).await?;
            root.running("shop", "job", 2).await?;
            let old = copy(bed, "a1").await?;
            root.apply(&shop(6)).await?;
            let ids = root.running("shop", "job", 6).await?;
            let before = Seen::all(bed).await?;

            for records in ["an old ledger", "none"] {
                if records == "none" {
                    bed.kill("a1").await?;
                    forget(&bed.data("a1"))?;
                    bed.start("a1").await?;
                } else {
                    put_back(bed, "a1", &old).await?;
                }
                let back = Instant::now();
                bed.ready(&["a1", "a2"]).await?;
                eventually("the worker has its jobs again", async || {
                    let all = bed.cluster("a")?.instances("shop").await?;
                    ensure!(
                        all.len() == 6 && all.iter().all(crate::seen::runs),
                        "{records}: {}",
                        sketch(&all)
                    );
                    Ok(())
                })
                .await?;
                let again = root.running("shop", "job", 6).await?;
                ensure!(again.keys().eq(ids.keys()), "{again:?} was {ids:?}");
                let fault = match records {
                    "none" => "ledger-none",
                    _ => "ledger-old-copy",
                };
                Figure::of(fault)
                    .took("convergence", back.elapsed())
                    .print();
                untouched(bed, &before, 6).await?;
            }
            // It has them indeed: it can stop them.
            root.scale("shop", "job", 1).await?;
            root.running("shop", "job", 1).await?;
            root.delete("shop").await?;
            root.gone("shop").await?;
            say(
                "copies",
                "ledger: an old one and none, 6 jobs known again, none touched",
            );
            Ok(())
        })
        .await
}
