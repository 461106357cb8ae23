//! The cluster's database is deleted under running jobs: nothing stops, the same instances are adopted, and the cluster
//! goes on as before.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed,
    manifest::{app, container, native},
};

use crate::seen::seen;

#[tokio::test]
async fn a_lost_database_stops_nothing() -> Result<()> {
    Testbed::new("database")
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .expect(
            "root is away",
            "a new database comes up while the root may be busy",
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
            let data = bed.data("cluster-a");
            for entry in std::fs::read_dir(&data).context("list the cluster's files")? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with("cluster.db") {
                    std::fs::remove_file(&path)?;
                }
            }
            bed.start("cluster-a").await?;
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
