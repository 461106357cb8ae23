//! A database is deleted under running jobs, and nothing stops. A cluster adopts the same instances by what its root and its
//! workers tell, and goes on as before. A root holds what its clusters report until people apply their applications again;
//! then it takes over what runs.

use std::{
    path::Path,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Figure, Testbed, eventually,
    manifest::{app, container, native},
    tier::sketch,
};

use crate::seen::seen;

/// Removes a database with all files that belong to it.
pub(crate) fn lose(data: &Path, name: &str) -> Result<()> {
    let entries = std::fs::read_dir(data).context("list the files")?;
    for entry in entries {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if file.starts_with(name) {
            std::fs::remove_file(&path).context("remove a file")?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_clusters_lost_database_stops_nothing() -> Result<()> {
    Testbed::new("database")
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .expect(
            "root is away",
            "a new database comes up while the root may be busy",
        )
        .expect(
            "another session of this worker",
            "the new database counts sessions anew",
        )
        .expect("detached from the cluster", "the cluster was killed")
        .expect("cannot attach to the cluster", "the cluster was killed")
        .run(async |bed| {
            let (root, cluster) = (bed.root(), bed.cluster("a")?);
            let image = bed.image().await?;
            let services = [container("web", 5, &image), bed.mark(native("job", 5))];
            root.apply(&app("shop", services)).await?;
            let web = root.running("shop", "web", 5).await?;
            let job = root.running("shop", "job", 5).await?;
            let before = seen(bed, &web, &job).await?;
            let from = SystemTime::now();

            bed.kill("cluster-a").await?;
            lose(&bed.data("cluster-a"), "cluster.db")?;
            bed.start("cluster-a").await?;
            let back = Instant::now();
            // The cluster knows them again, and so does the root, under the same ids.
            for tier in [cluster, root] {
                let (web_now, job_now) = (
                    tier.running("shop", "web", 5).await?,
                    tier.running("shop", "job", 5).await?,
                );
                ensure!(web_now.keys().eq(web.keys()), "{web_now:?} was {web:?}");
                ensure!(job_now.keys().eq(job.keys()), "{job_now:?} was {job:?}");
            }
            bed.ready(&["a1", "a2"]).await?;
            Figure::of("cluster-database-none")
                .took("convergence", back.elapsed())
                .print();
            ensure!(
                seen(bed, &web, &job).await? == before,
                "something was touched"
            );
            for worker in ["a1", "a2"] {
                let id = bed.worker_id(worker)?;
                let happened = bed.engine().events(&id, from).await?;
                ensure!(happened.is_empty(), "{worker}: {happened:?}");
            }

            root.scale("shop", "web", 2).await?;
            root.scale("shop", "job", 2).await?;
            let web = root.running("shop", "web", 2).await?;
            let job = root.running("shop", "job", 2).await?;
            let left = seen(bed, &web, &job).await?;
            before.holds(&left)?;
            root.delete("shop").await?;
            root.gone("shop").await?;
            bed.nothing_left().await?;
            let services = [container("web", 1, &image), bed.mark(native("job", 1))];
            root.apply(&app("next", services)).await?;
            root.running("next", "web", 1).await?;
            root.running("next", "job", 1).await?;
            root.delete("next").await?;
            root.gone("next").await
        })
        .await
}

#[tokio::test]
async fn a_roots_lost_database_stops_nothing_and_an_apply_takes_over_what_runs() -> Result<()> {
    Testbed::new("rootless")
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .expect("root is away", "it was killed")
        .run(async |bed| {
            let (root, cluster) = (bed.root(), bed.cluster("a")?);
            let image = bed.image().await?;
            let services = [container("web", 3, &image), bed.mark(native("job", 3))];
            let shop = app("shop", services);
            root.apply(&shop).await?;
            let web = root.running("shop", "web", 3).await?;
            let job = root.running("shop", "job", 3).await?;
            let before = seen(bed, &web, &job).await?;

            bed.kill("root").await?;
            lose(&bed.data("root"), "root.db")?;
            bed.start("root").await?;
            let back = Instant::now();
            bed.ready(&["a1", "a2"]).await?;
            for tier in [root, cluster] {
                eventually("what runs is shown, and nobody asked for it", async || {
                    let all = tier.instances("shop").await?;
                    ensure!(
                        all.len() == 6 && all.iter().all(|i| i.reason == "Held"),
                        "{}",
                        sketch(&all)
                    );
                    Ok(())
                })
                .await?;
            }
            let detected = back.elapsed();
            ensure!(root.get("shop").await?.is_none(), "where did it come from?");

            root.apply(&shop).await?;
            let applied = Instant::now();
            let web_now = root.running("shop", "web", 3).await?;
            let job_now = root.running("shop", "job", 3).await?;
            ensure!(web_now.keys().eq(web.keys()), "{web_now:?} was {web:?}");
            ensure!(job_now.keys().eq(job.keys()), "{job_now:?} was {job:?}");
            Figure::of("root-database-none")
                .took("detection", detected)
                .took("convergence", applied.elapsed())
                .print();
            let now = seen(bed, &web_now, &job_now).await?;
            ensure!(now == before, "something was touched");
            eventually("the cluster knows that they are wanted", async || {
                let all = cluster.instances("shop").await?;
                ensure!(
                    all.len() == 6 && all.iter().all(|i| i.reason.is_empty()),
                    "{}",
                    sketch(&all)
                );
                Ok(())
            })
            .await?;
            root.scale("shop", "web", 4).await?;
            root.scale("shop", "job", 1).await?;
            let web = root.running("shop", "web", 4).await?;
            let job = root.running("shop", "job", 1).await?;
            seen(bed, &web, &job).await?;
            root.delete("shop").await?;
            root.gone("shop").await?;
            cluster.gone("shop").await
        })
        .await
}
