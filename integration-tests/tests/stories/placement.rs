//! What fits nowhere waits and says why; it is placed when somebody comes who can take it. What a lost worker ran is placed
//! elsewhere once an operator forgets it.

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed, eventually,
    manifest::{app, container, native},
    native::shims,
    tier::{Tier, sketch},
};
use edgeio_proto::{
    api::v1::{Instance, InstancePhase, ResourceSpec, ServiceSpec},
    cluster::v1::ForgetRequest,
};

/// Waits until the only instance of a service is Pending with exactly these words among a candidate's reasons.
async fn pending(tier: &Tier, service: &str, candidate: &str, word: &str) -> Result<()> {
    let what = format!("{service} waits because of `{word}` of {candidate}");
    eventually(&what, async || {
        let all = tier.instances("").await?;
        let of: Vec<&Instance> = all.iter().filter(|i| i.service == service).collect();
        let told = |i: &Instance| {
            let mut reasons = i
                .candidates
                .iter()
                .filter(|c| c.candidate == candidate)
                .flat_map(|c| &c.reasons);
            i.phase() == InstancePhase::Pending && reasons.any(|r| r.contains(word))
        };
        ensure!(of.len() == 1 && told(of[0]), "{}", sketch(&all));
        Ok(())
    })
    .await
}

/// Machines without control groups tell this story too: it is about room, not about limits.
const UNLIMITED: &str = "--native-without-limits=run";

#[tokio::test]
async fn what_fits_nowhere_says_why_and_is_placed_when_it_fits() -> Result<()> {
    Testbed::new("placement")
        .cluster("a")
        .worker_with(
            "a1",
            &["--docker=off", "--capacity=cpu=1,memory=1Gi", UNLIMITED],
        )
        .worker_with("a2", &["--capacity=cpu=8,memory=8Gi", UNLIMITED])
        .later()
        .run(async |bed| {
            let (root, cluster) = (bed.root(), bed.cluster("a")?);
            let image = bed.image().await?;
            let memory = ResourceSpec {
                memory: "4Gi".to_owned(),
                cpu: String::new(),
            };
            let foreign = ServiceSpec {
                architectures: vec!["riscv64".to_owned()],
                ..native("foreign", 1)
            };
            // Either thing a1 lacks: an engine, and the memory.
            let big = ServiceSpec {
                resources: Some(memory),
                ..native("big", 1)
            };
            let at_root = app("r", [container("web", 1, &image), bed.mark(big.clone())]);
            root.apply(&at_root).await?;
            pending(root, "web", "cluster a", "docker").await?;
            pending(root, "big", "cluster a", "memory").await?;
            // The same by the cluster's own door, where the candidates are workers.
            let at_cluster = app(
                "c",
                [
                    bed.mark(ServiceSpec {
                        name: "huge".to_owned(),
                        ..big
                    }),
                    foreign,
                ],
            );
            cluster.apply(&at_cluster).await?;
            pending(cluster, "huge", "worker a1", "memory").await?;
            pending(cluster, "foreign", "worker a1", "architecture").await?;

            bed.start("a2").await?;
            for (tier, app, service) in [
                (root, "r", "web"),
                (root, "r", "big"),
                (cluster, "c", "huge"),
            ] {
                let placed = tier.running(app, service, 1).await?;
                ensure!(placed.values().all(|i| i.worker == "a2"), "{placed:?}");
            }
            pending(cluster, "foreign", "worker a2", "architecture").await?;
            bed.ready(&["a1", "a2"]).await?;
            root.delete("r").await?;
            cluster.delete("c").await?;
            root.gone("r").await?;
            cluster.gone("c").await
        })
        .await
}

#[tokio::test]
async fn what_a_forgotten_worker_ran_is_placed_elsewhere() -> Result<()> {
    let bed = Testbed::new("forget")
        .cluster("a")
        .worker("a1")
        .worker("a2");
    bed.run(async |bed| {
        let (root, cluster) = (bed.root(), bed.cluster("a")?);
        root.apply(&app("shop", [bed.mark(native("job", 4))]))
            .await?;
        let before = root.running("shop", "job", 4).await?;
        let of = |worker: &str| before.values().filter(|i| i.worker == worker).count();
        ensure!(of("a1") > 0 && of("a2") > 0, "{before:?}");

        // The machine is gone for good: the agent first, so that it starts nothing again, then its shims, whose jobs the
        // kernel kills with them.
        bed.kill("a1").await?;
        for shim in shims(&bed.data("a1")) {
            let pid = i32::try_from(shim.pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(
                pid.context("a process id")?,
                rustix::process::Signal::KILL,
            )?;
        }
        let request = ForgetRequest {
            worker: "a1".to_owned(),
            force: true,
            ..ForgetRequest::default()
        };
        let answer = cluster.workers().forget(request).await?.into_inner();
        ensure!(usize::try_from(answer.replaced)? == of("a1"), "{answer:?}");
        eventually("all run on the worker that is left", async || {
            let now = root.running("shop", "job", 4).await?;
            ensure!(now.values().all(|i| i.worker == "a2"), "{now:?}");
            ensure!(
                before
                    .iter()
                    .filter(|(_, i)| i.worker == "a2")
                    .all(|(id, _)| now.contains_key(id)),
                "{before:?} became {now:?}"
            );
            Ok(())
        })
        .await?;
        ensure!(bed.jobs().len() == 4, "{:?}", bed.jobs());
        let left = cluster.list_workers().await?;
        ensure!(left.iter().all(|w| w.name == "a2"), "{left:?}");
        root.delete("shop").await?;
        root.gone("shop").await
    })
    .await
}
