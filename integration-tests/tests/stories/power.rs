//! A machine loses power and network: it starts again what it ran, by itself, and is recognised when the others are back.

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::KillContainerOptionsBuilder;
use edgeio_integration_tests::testbed::{
    Testbed, eventually,
    manifest::{app, container, native},
    native::shims,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::seen::{seen, settled};

#[tokio::test]
async fn a_machine_starts_again_what_it_ran_with_nobody_to_ask() -> Result<()> {
    Testbed::new("power")
        .cluster("a")
        .worker("a1")
        .expect("registration failed", "the worker is alone")
        .expect("not reached", "the worker is alone")
        .run(async |bed| {
            let root = bed.root();
            let image = bed.image().await?;
            let services = [container("web", 2, &image), bed.mark(native("job", 2))];
            root.apply(&app("shop", services)).await?;
            let web = root.running("shop", "web", 2).await?;
            let job = root.running("shop", "job", 2).await?;
            let before = seen(bed, &web, &job).await?;

            for program in ["a1", "bridge-a", "nats-a", "cluster-a", "root"] {
                bed.kill(program).await?;
            }
            // The kernel kills a job with its shim.
            for shim in shims(bed.dir()) {
                let pid = i32::try_from(shim.pid).ok().and_then(Pid::from_raw);
                kill_process(pid.context("a process id")?, Signal::KILL)?;
            }
            for container in before.containers.values() {
                let options = KillContainerOptionsBuilder::new().signal("KILL").build();
                let killed = bed
                    .engine()
                    .docker
                    .kill_container(&container.id, Some(options));
                killed.await.context("kill a container")?;
            }
            eventually("nothing runs", async || {
                let left = bed.containers().await?;
                ensure!(left.values().all(|c| c.status == "exited"), "{left:?}");
                ensure!(bed.jobs().is_empty(), "{:?}", bed.jobs());
                Ok(())
            })
            .await?;

            bed.start("a1").await?;
            eventually("all runs again", async || {
                let now = bed.containers().await?;
                let again = |(id, before): (&String, &_)| {
                    now.get(id)
                        .is_some_and(|now| now.status == "running" && now != before)
                };
                ensure!(
                    now.len() == 2 && before.containers.iter().all(again),
                    "{now:?}"
                );
                let jobs = bed.jobs();
                ensure!(
                    jobs.len() == 2 && jobs.is_disjoint(&before.jobs),
                    "{jobs:?}"
                );
                Ok(())
            })
            .await?;
            let alone = (bed.containers().await?, bed.jobs());

            for program in ["root", "cluster-a", "nats-a", "bridge-a"] {
                bed.start(program).await?;
            }
            bed.ready(&["a1"]).await?;
            let after = settled(bed, root, (2, 2), |_| true).await?;
            ensure!(
                (after.containers, after.jobs) == alone,
                "something was started again when the cluster came back"
            );
            let now = root.running("shop", "web", 2).await?;
            ensure!(now.keys().eq(web.keys()), "{now:?} was {web:?}");
            let now = root.running("shop", "job", 2).await?;
            ensure!(now.keys().eq(job.keys()), "{now:?} was {job:?}");
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}
