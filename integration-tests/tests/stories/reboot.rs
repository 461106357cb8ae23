//! Machines that boot with nothing reachable: a worker that has only `lo`, and a whole site whose root is away. Each runs
//! again what it ran, by itself, mends it, and is recognised when the others are there.
//!
//! A boot is made of its parts: agents, shims, jobs and containers are killed as the power does it, and the kernel shows
//! another boot id.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::KillContainerOptionsBuilder;
use edgeio_integration_tests::testbed::{
    Bed, Figure, Testbed, eventually,
    manifest::{app, container, native, script},
    native::{Process, shims},
    tier::sketch,
};
use edgeio_proto::api::v1::{InstancePhase, ServiceSpec};
use rustix::process::{Pid, Signal, kill_process};

fn kill(process: &Process) -> Result<()> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    kill_process(pid.context("a process id")?, Signal::KILL).context("kill a process")
}

/// The power goes at these workers, and comes again: nothing of them runs, and the kernel tells another boot.
async fn power_cut(bed: &Bed, workers: &[&str]) -> Result<()> {
    for worker in workers {
        if bed.program(worker)?.pid().is_some() {
            bed.kill(worker).await?;
        }
    }
    for worker in workers {
        for shim in shims(&bed.data(worker)) {
            kill(&shim)?;
        }
        for container in bed
            .engine()
            .of_worker(&bed.worker_id(worker)?)
            .await?
            .values()
        {
            if container.status != "exited" {
                let options = KillContainerOptionsBuilder::new().signal("KILL").build();
                let killed = bed
                    .engine()
                    .docker
                    .kill_container(&container.id, Some(options));
                killed.await.context("kill a container")?;
            }
        }
        bed.program(worker)?.reboot()?;
    }
    eventually("nothing of them runs", async || {
        for worker in workers {
            let left = shims(&bed.data(worker));
            ensure!(left.is_empty(), "{left:?}");
            let found = bed.engine().of_worker(&bed.worker_id(worker)?).await?;
            ensure!(found.values().all(|c| c.status == "exited"), "{found:?}");
        }
        Ok(())
    })
    .await
}

/// A job that ends at once, and leaves a line with the kernel's clock each time.
fn crasher(runs: &Path) -> ServiceSpec {
    let text = format!("cut -d' ' -f1 /proc/uptime >>{}; exit 3", runs.display());
    script("crash", 1, &text)
}

/// When the job ran, in seconds since the boot of the machine.
fn times(runs: &Path) -> Result<Vec<f64>> {
    let text = fs::read_to_string(runs).context("read the crasher's lines")?;
    text.lines()
        .map(|line| line.parse().context("a time"))
        .collect()
}

/// The native jobs that stay.
fn stayers(bed: &Bed) -> BTreeSet<Process> {
    let jobs = bed.jobs().into_iter();
    jobs.filter(|job| job.command.starts_with("sleep"))
        .collect()
}

#[tokio::test]
async fn a_worker_that_boots_with_only_lo_runs_what_it_ran() -> Result<()> {
    Testbed::new("reboot")
        .cluster("a")
        .worker("a1")
        .apart("a1")
        .run(async |bed| {
            let root = bed.root();
            let image = bed.image().await?;
            let runs = bed.dir().join("runs");
            let services = [
                container("web", 1, &image),
                bed.mark(native("job", 2)),
                bed.mark(crasher(&runs)),
            ];
            root.apply(&app("shop", services)).await?;
            let web = root.running("shop", "web", 1).await?;
            let job = root.running("shop", "job", 2).await?;
            eventually("the crasher was started again", async || {
                let all = root.instances("shop").await?;
                let again = all.iter().any(|i| i.service == "crash" && i.restarts >= 2);
                ensure!(again, "{}", sketch(&all));
                Ok(())
            })
            .await?;
            let crash: Vec<_> = root.instances("shop").await?;
            let crash = crash.iter().find(|i| i.service == "crash");
            let crash = crash.context("no crasher")?.clone();
            let (jobs, containers) = (stayers(bed), bed.containers().await?);

            power_cut(bed, &["a1"]).await?;
            bed.link("a1")?.unplug()?;
            let before = times(&runs)?.len();
            bed.start("a1").await?;
            let booted = Instant::now();
            eventually("all runs again, with nobody to ask", async || {
                let now = bed.containers().await?;
                let again = |(id, old): (&String, &_)| {
                    now.get(id)
                        .is_some_and(|new| new.status == "running" && new != old)
                };
                ensure!(now.len() == 1 && containers.iter().all(again), "{now:?}");
                let now = stayers(bed);
                ensure!(now.len() == 2 && now.is_disjoint(&jobs), "{now:?}");
                Ok(())
            })
            .await?;
            Figure::of("worker-reboot-alone")
                .took("convergence", booted.elapsed())
                .print();
            eventually("the crasher is started again and again", async || {
                let lines = times(&runs)?.len() - before;
                ensure!(lines >= 2, "{lines} times");
                Ok(())
            })
            .await?;
            // It had crashed before: it does not begin at a second again, and waits longer each time.
            let pauses: Vec<f64> = times(&runs)?
                .windows(2)
                .map(|two| two[1] - two[0])
                .collect();
            ensure!(
                pauses.last() > pauses.first() && pauses.iter().sum::<f64>() > 3.0,
                "{pauses:?}"
            );
            let victim = stayers(bed).into_iter().next().context("no job")?;
            kill(&victim)?;
            eventually("a job that is killed is started again", async || {
                let now = stayers(bed);
                ensure!(now.len() == 2 && !now.contains(&victim), "{now:?}");
                Ok(())
            })
            .await?;
            let alone = (stayers(bed), bed.containers().await?);

            bed.link("a1")?.plug()?;
            bed.ready(&["a1"]).await?;
            let now = root.running("shop", "web", 1).await?;
            ensure!(now.keys().eq(web.keys()), "{now:?} was {web:?}");
            let now = root.running("shop", "job", 2).await?;
            ensure!(now.keys().eq(job.keys()), "{now:?} was {job:?}");
            eventually("the restarts in between are told", async || {
                let all = root.instances("shop").await?;
                let same = all.iter().find(|i| i.id == crash.id);
                let more = same.is_some_and(|i| i.restarts >= crash.restarts + 2);
                ensure!(more, "{crash:?} became {}", sketch(&all));
                Ok(())
            })
            .await?;
            ensure!(
                (stayers(bed), bed.containers().await?) == alone,
                "something was started again when the cluster came back"
            );
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}

#[tokio::test]
async fn a_site_that_boots_without_its_root_runs_what_it_ran_and_takes_more() -> Result<()> {
    Testbed::new("site")
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .expect("root is away", "it was killed")
        .expect("not reached", "the bridge may be there before the broker")
        .run(async |bed| {
            let (root, cluster) = (bed.root(), bed.cluster("a")?);
            let image = bed.image().await?;
            let services = [container("web", 2, &image), bed.mark(native("job", 4))];
            root.apply(&app("shop", services)).await?;
            let web = root.running("shop", "web", 2).await?;
            let job = root.running("shop", "job", 4).await?;
            let before = stayers(bed);

            bed.kill("root").await?;
            power_cut(bed, &["a1", "a2"]).await?;
            for program in ["bridge-a", "nats-a", "cluster-a"] {
                bed.kill(program).await?;
            }
            bed.program("cluster-a")?.reboot()?;
            // As machines come up: nobody waits for anybody.
            for program in ["a1", "a2", "cluster-a", "nats-a", "bridge-a"] {
                bed.start(program).await?;
            }
            let booted = Instant::now();
            let own = app("local", [bed.mark(native("own", 1))]);
            let local = cluster.apply(&own).await?;
            ensure!(local.owner == "cluster a", "{local:?}");
            cluster.running("local", "own", 1).await?;
            eventually("the site runs what it ran", async || {
                let all = cluster.instances("shop").await?;
                let good = |i: &&edgeio_proto::api::v1::Instance| {
                    i.phase() == InstancePhase::Running
                        && (web.contains_key(&i.id) || job.contains_key(&i.id))
                };
                ensure!(
                    all.len() == 6 && all.iter().filter(good).count() == 6,
                    "{}",
                    sketch(&all)
                );
                let now = stayers(bed);
                ensure!(now.len() == 5 && now.is_disjoint(&before), "{now:?}");
                let now = bed.containers().await?;
                ensure!(
                    now.len() == 2 && now.values().all(|c| c.status == "running"),
                    "{now:?}"
                );
                Ok(())
            })
            .await?;
            Figure::of("site-reboot-without-root")
                .took("convergence", booted.elapsed())
                .print();
            let alone = (stayers(bed), bed.containers().await?);

            bed.start("root").await?;
            bed.ready(&["a1", "a2"]).await?;
            let now = root.running("shop", "web", 2).await?;
            ensure!(now.keys().eq(web.keys()), "{now:?} was {web:?}");
            let now = root.running("shop", "job", 4).await?;
            ensure!(now.keys().eq(job.keys()), "{now:?} was {job:?}");
            ensure!(
                (stayers(bed), bed.containers().await?) == alone,
                "something was started again when the root came back"
            );
            root.delete("shop").await?;
            root.gone("shop").await?;
            cluster.delete("local").await?;
            cluster.gone("local").await
        })
        .await
}
