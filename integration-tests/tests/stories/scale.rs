//! Three, five, one, and nothing: containers and native jobs follow the number, and the ones that stay are not touched.

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed,
    manifest::{app, container, native},
};
use edgeio_proto::api::v1::ApplicationPhase;

use crate::seen::seen;

#[tokio::test]
async fn replicas_follow_the_number_and_a_deletion_leaves_nothing() -> Result<()> {
    let bed = Testbed::new("scale").cluster("a").worker("a1").worker("a2");
    bed.run(async |bed| {
        let root = bed.root();
        let image = bed.image().await?;
        let services = [container("web", 3, &image), bed.mark(native("job", 3))];
        root.apply(&app("shop", services)).await?;
        let mut before = None;
        for replicas in [3_u32, 5, 1] {
            root.scale("shop", "web", replicas).await?;
            root.scale("shop", "job", replicas).await?;
            let wanted = usize::try_from(replicas)?;
            let web = root.running("shop", "web", wanted).await?;
            let job = root.running("shop", "job", wanted).await?;
            let now = seen(bed, &web, &job).await?;
            match before.replace(now.clone()) {
                Some(before) if now.jobs.len() > before.jobs.len() => now.holds(&before)?,
                Some(before) => before.holds(&now)?,
                None => {}
            }
            let at_cluster = bed.cluster("a")?.running("shop", "web", wanted).await?;
            ensure!(at_cluster.keys().eq(web.keys()), "{at_cluster:?}\n{web:?}");
            let ordinals = |of: &edgeio_integration_tests::testbed::tier::Running| {
                let mut all: Vec<u32> = of.values().map(|i| i.ordinal).collect();
                all.sort_unstable();
                all
            };
            let expected: Vec<u32> = (0..replicas).collect();
            ensure!(
                ordinals(&web) == expected && ordinals(&job) == expected,
                "{web:?} {job:?}"
            );
        }
        let status = root.get("shop").await?.and_then(|app| app.status);
        ensure!(
            status
                .as_ref()
                .is_some_and(|s| s.phase() == ApplicationPhase::Ready),
            "{status:?}"
        );
        root.delete("shop").await?;
        root.gone("shop").await?;
        bed.nothing_left().await?;
        ensure!(root.instances("").await?.is_empty(), "the root lists some");
        let cluster = bed.cluster("a")?;
        cluster.gone("shop").await?;
        for worker in ["a1", "a2"] {
            let jobs = bed.data(worker).join("jobs");
            let left = std::fs::read_dir(&jobs).into_iter().flatten().count();
            ensure!(left == 0, "{left} instances are left in {}", jobs.display());
        }
        for worker in cluster.list_workers().await? {
            ensure!(worker.assigned == 0, "{worker:?}");
        }
        Ok(())
    })
    .await
}
