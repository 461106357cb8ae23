//! A cluster without its root: it keeps and mends what it runs, and takes applications by its own door. Each application has
//! one owner, and whoever knocks at the other door is told whose it is.

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed, eventually,
    manifest::{app, native},
};
use edgeio_proto::api::v1::ScaleRequest;
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::seen::settled;

#[tokio::test]
async fn a_cluster_works_on_without_its_root() -> Result<()> {
    Testbed::new("autonomy")
        .cluster("a")
        .worker("a1")
        .expect("root is away", "it was killed")
        .run(async |bed| {
            let (root, cluster) = (bed.root(), bed.cluster("a")?);
            root.apply(&app("shop", [bed.mark(native("job", 2))]))
                .await?;
            let before = settled(bed, root, (0, 2), |_| true).await?;
            let ids = root.running("shop", "job", 2).await?;

            bed.kill("root").await?;
            let victim = before.jobs.first().context("no job")?;
            let pid = i32::try_from(victim.pid).ok().and_then(Pid::from_raw);
            kill_process(pid.context("a process id")?, Signal::KILL)?;
            settled(bed, cluster, (0, 2), |now| !now.jobs.contains(victim)).await?;
            let local = cluster
                .apply(&app("local", [bed.mark(native("own", 1))]))
                .await?;
            ensure!(local.owner == "cluster a", "{local:?}");
            let own = cluster.running("local", "own", 1).await?;
            let theirs = ScaleRequest {
                name: "shop".to_owned(),
                replicas: 5,
                ..ScaleRequest::default()
            };
            let refused = cluster.applications().scale(theirs).await;
            let refused = refused
                .err()
                .context("the cluster scaled the root's application")?;
            ensure!(
                refused.code() == Code::FailedPrecondition && refused.message().contains("root"),
                "{refused:?}"
            );
            let reason = refused
                .get_error_details()
                .error_info()
                .map(|i| i.reason.clone());
            ensure!(reason.is_some(), "{refused:?}");

            bed.start("root").await?;
            bed.ready(&["a1"]).await?;
            eventually("the root learns what happened meanwhile", async || {
                let now = root.running("shop", "job", 2).await?;
                ensure!(now.keys().eq(ids.keys()), "{now:?} was {ids:?}");
                let restarts: u32 = now.values().map(|i| i.restarts).sum();
                ensure!(restarts == 1, "{now:?}");
                Ok(())
            })
            .await?;
            root.scale("shop", "job", 1).await?;
            root.running("shop", "job", 1).await?;
            ensure!(
                cluster
                    .running("local", "own", 1)
                    .await?
                    .keys()
                    .eq(own.keys()),
                "the cluster's own application was touched"
            );
            root.delete("shop").await?;
            root.gone("shop").await?;
            ensure!(bed.jobs().len() == 1, "{:?}", bed.jobs());
            cluster.delete("local").await?;
            cluster.gone("local").await
        })
        .await
}
