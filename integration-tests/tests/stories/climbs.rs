//! A refusal climbs: from a worker to its cluster to the root, which asks the next cluster. What nobody takes waits with the
//! words of those who refused it, and is placed when there is room again.

use std::time::Instant;

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{
    Figure, Testbed, Tier, Way, eventually,
    manifest::{app, native},
    tier::sketch,
};
use edgeio_proto::api::v1::{InstancePhase, ResourceSpec, ServiceSpec};

/// Waits until `count` replicas of a service wait, each with these words about that candidate.
async fn waits(tier: &Tier, service: &str, count: usize, told: &[(&str, &str)]) -> Result<()> {
    eventually(
        &format!("{count} of {service} wait for {told:?}"),
        async || {
            let all = tier.instances("").await?;
            let says = |i: &edgeio_proto::api::v1::Instance| {
                told.iter().all(|(candidate, word)| {
                    let mut of = i.candidates.iter().filter(|c| c.candidate == *candidate);
                    of.any(|c| c.reasons.iter().any(|reason| reason.contains(word)))
                })
            };
            let waiting = all
                .iter()
                .filter(|i| i.service == service && i.phase() == InstancePhase::Pending && says(i))
                .count();
            ensure!(waiting == count, "{}", sketch(&all));
            Ok(())
        },
    )
    .await
}

#[tokio::test]
async fn what_workers_refuse_of_their_own_will_goes_to_the_next_cluster() -> Result<()> {
    Testbed::new("climbs")
        .cluster("a")
        .worker_with("a1", &["--docker=off", "--accept-new=false"])
        .cluster("b")
        .worker_with("b1", &["--docker=off", "--max-instances=1"])
        .later()
        .run(async |bed| {
            let root = bed.root();
            root.apply(&app("shop", [bed.mark(native("job", 2))]))
                .await?;
            // The only cluster refuses, and everybody may read why.
            waits(root, "job", 2, &[("cluster a", "`accept_new`")]).await?;

            bed.start("b1").await?;
            eventually("one runs at the next cluster", async || {
                let all = root.instances("shop").await?;
                let runs = |i: &&edgeio_proto::api::v1::Instance| {
                    i.phase() == InstancePhase::Running && i.cluster == "b"
                };
                ensure!(all.iter().filter(runs).count() == 1, "{}", sketch(&all));
                Ok(())
            })
            .await?;
            let words = [
                ("cluster a", "`accept_new`"),
                ("cluster b", "`max_instances`"),
            ];
            waits(root, "job", 1, &words).await?;
            ensure!(bed.jobs().len() == 1, "{:?}", bed.jobs());

            // The one that waits takes the room of the one that goes.
            root.apply(&app("late", [bed.mark(native("job", 1))]))
                .await?;
            waits(root, "job", 2, &words).await?;
            root.delete("shop").await?;
            root.gone("shop").await?;
            let placed = root.running("late", "job", 1).await?;
            ensure!(placed.values().all(|i| i.worker == "b1"), "{placed:?}");
            bed.ready(&["a1", "b1"]).await?;
            root.delete("late").await?;
            root.gone("late").await
        })
        .await
}

fn needs(cpu: &str, service: ServiceSpec) -> ServiceSpec {
    ServiceSpec {
        resources: Some(ResourceSpec {
            cpu: cpu.to_owned(),
            memory: String::new(),
        }),
        ..service
    }
}

#[tokio::test]
async fn a_cluster_that_filled_up_since_the_root_decided_hands_it_back() -> Result<()> {
    const UNLIMITED: &str = "--native-without-limits=run";
    Testbed::new("filled")
        .apart("root")
        .cluster("a")
        .worker_with("a1", &["--docker=off", "--capacity=cpu=1", UNLIMITED])
        .cluster("b")
        .worker_with("b1", &["--docker=off", "--capacity=cpu=1", UNLIMITED])
        .later()
        .expect("root is away", "what it is told does not arrive")
        .run(async |bed| {
            let (root, a) = (bed.root(), bed.cluster("a")?);
            // The root hears nothing: what follows at the cluster is not in what it decides by.
            bed.link("root")?.cut(Way::In, None)?;
            a.apply(&app("own", [bed.mark(needs("1", native("own", 1)))]))
                .await?;
            let own = a.running("own", "own", 1).await?;
            root.apply(&app("shop", [bed.mark(needs("600m", native("job", 1)))]))
                .await?;
            eventually(
                "the root has decided for the cluster that is full",
                async || {
                    let all = root.instances("shop").await?;
                    ensure!(all.iter().any(|i| i.cluster == "a"), "{}", sketch(&all));
                    Ok(())
                },
            )
            .await?;
            bed.link("root")?.heal()?;
            let healed = Instant::now();
            waits(root, "job", 1, &[("cluster a", "CPU")]).await?;
            let detected = healed.elapsed();
            ensure!(
                a.running("own", "own", 1).await?.keys().eq(own.keys()),
                "what ran there was touched"
            );

            bed.start("b1").await?;
            let room = Instant::now();
            let placed = root.running("shop", "job", 1).await?;
            ensure!(placed.values().all(|i| i.worker == "b1"), "{placed:?}");
            Figure::of("cluster-filled-up")
                .took("detection", detected)
                .took("replacement", room.elapsed())
                .print();

            // A second one waits for room at either cluster, and gets what the cluster's own one leaves.
            root.apply(&app("more", [bed.mark(needs("600m", native("more", 1)))]))
                .await?;
            waits(
                root,
                "more",
                1,
                &[("cluster a", "CPU"), ("cluster b", "CPU")],
            )
            .await?;
            a.delete("own").await?;
            a.gone("own").await?;
            let placed = root.running("more", "more", 1).await?;
            ensure!(placed.values().all(|i| i.worker == "a1"), "{placed:?}");
            bed.ready(&["a1", "b1"]).await?;
            for name in ["shop", "more"] {
                root.delete(name).await?;
                root.gone(name).await?;
            }
            Ok(())
        })
        .await
}
