//! Somebody meddles with what runs, behind edgeio's back: it is noticed, and mended.

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::{RemoveContainerOptionsBuilder, StopContainerOptionsBuilder};
use edgeio_integration_tests::testbed::{
    Testbed,
    manifest::{app, container, native},
    native::{Process, shims},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::seen::settled;

fn kill(process: &Process) -> Result<()> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    kill_process(pid.context("a process id")?, Signal::KILL).context("kill a process")
}

#[tokio::test]
async fn what_somebody_stops_or_removes_comes_back() -> Result<()> {
    let bed = Testbed::new("meddling").cluster("a").worker("a1");
    bed.run(async |bed| {
        let root = bed.root();
        let image = bed.image().await?;
        let services = [container("web", 2, &image), bed.mark(native("job", 2))];
        root.apply(&app("shop", services)).await?;
        let before = settled(bed, root, (2, 2), |_| true).await?;
        let docker = &bed.engine().docker;

        let victim = before.containers.values().next().context("none")?;
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        docker.remove_container(&victim.id, Some(options)).await?;
        let removed = settled(bed, root, (2, 2), |now| {
            now.containers.values().all(|c| c.id != victim.id)
        })
        .await?;
        ensure!(removed.jobs == before.jobs, "a job was touched");

        let victim = removed.containers.values().last().context("none")?;
        let options = StopContainerOptionsBuilder::new().t(1).build();
        docker.stop_container(&victim.id, Some(options)).await?;
        let stopped = settled(bed, root, (2, 2), |now| {
            now.containers.values().all(|c| c != victim)
        })
        .await?;

        let victim = stopped.jobs.first().context("none")?;
        kill(victim)?;
        let killed = settled(bed, root, (2, 2), |now| !now.jobs.contains(victim)).await?;
        ensure!(
            killed.jobs.intersection(&stopped.jobs).count() == 1,
            "{:?} became {:?}",
            stopped.jobs,
            killed.jobs
        );
        // A shim that is killed takes its job along, so that none runs on unseen.
        kill(shims(bed.dir()).first().context("no shim")?)?;
        let alone = settled(bed, root, (2, 2), |now| now.jobs != killed.jobs).await?;
        ensure!(
            alone.jobs.intersection(&killed.jobs).count() == 1,
            "{:?} became {:?}",
            killed.jobs,
            alone.jobs
        );
        ensure!(
            alone.containers == stopped.containers,
            "a container was touched"
        );
        root.delete("shop").await?;
        root.gone("shop").await
    })
    .await
}
