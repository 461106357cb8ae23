//! A worker dies in a cluster that has no room left: the cluster hands the replica back, the root has it run at the next one, and
//! when the worker is back one of the two goes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Figure, Testbed, eventually,
    manifest::{app, native},
    tier::sketch,
};
use edgeio_proto::api::v1::{Instance, InstancePhase, Reachability, ResourceSpec, ServiceSpec};

/// Short times: six reports a lease, and two leases and a half until anything is replaced.
const REPORT: Duration = Duration::from_millis(500);
const LEASE: Duration = Duration::from_secs(3);
const REPLACE_AFTER: Duration = Duration::from_secs(8);
const REPLACE: &[&str] = &["--replace-after=8s", "--lost-after=1h"];

const UNLIMITED: &str = "--native-without-limits=run";

fn job() -> ServiceSpec {
    ServiceSpec {
        resources: Some(ResourceSpec {
            cpu: "600m".to_owned(),
            memory: String::new(),
        }),
        ..native("job", 1)
    }
}

fn says(instance: &Instance, candidate: &str, word: &str) -> bool {
    let mut of = instance.candidates.iter();
    of.any(|c| c.candidate == candidate && c.reasons.iter().any(|r| r.contains(word)))
}

#[tokio::test]
async fn a_replica_of_a_dead_worker_goes_to_the_next_cluster_where_its_own_is_full() -> Result<()> {
    Testbed::new("returned")
        .times(REPORT, LEASE)
        .cluster("a")
        .worker_with("a1", &["--docker=off", "--capacity=cpu=1", UNLIMITED])
        .worker_with("a2", &["--docker=off", "--capacity=cpu=100m", UNLIMITED])
        .tier_with("cluster-a", REPLACE)
        .cluster("b")
        .worker_with("b1", &["--docker=off", "--capacity=cpu=1", UNLIMITED])
        .later()
        .run(async |bed| {
            let root = bed.root();
            root.apply(&app("shop", [bed.mark(job())])).await?;
            let first = root.running("shop", "job", 1).await?;
            ensure!(first.values().all(|i| i.worker == "a1"), "{first:?}");
            let alone = bed.jobs();

            // Only the agent is dead, and the other worker of the cluster is heard and too small.
            bed.kill("a1").await?;
            let killed = Instant::now();
            eventually("the cluster has handed it back", async || {
                let all = root.instances("shop").await?;
                let told = |i: &Instance| {
                    i.phase() == InstancePhase::Pending
                        && i.reachability() == Reachability::Unreachable
                        && says(i, "worker a1", "silent")
                        && says(i, "worker a2", "600m")
                };
                ensure!(all.len() == 1 && all.iter().all(told), "{}", sketch(&all));
                Ok(())
            })
            .await?;
            let detected = killed.elapsed();
            ensure!(bed.jobs() == alone, "without a place nothing changes");

            bed.start("b1").await?;
            let room = Instant::now();
            let second = root.running("shop", "job", 1).await?;
            ensure!(second.values().all(|i| i.worker == "b1"), "{second:?}");
            let replaced = room.elapsed();
            let both = bed.jobs();
            ensure!(
                both.len() == 2 && both.is_superset(&alone),
                "the first one runs on: {both:?}"
            );

            bed.start("a1").await?;
            let back = Instant::now();
            eventually("one of the two goes", async || {
                let jobs = bed.jobs();
                ensure!(jobs == alone, "{jobs:?}");
                let all = root.instances("shop").await?;
                let kept = |i: &Instance| first.contains_key(&i.id);
                ensure!(all.len() == 1 && all.iter().all(kept), "{}", sketch(&all));
                Ok(())
            })
            .await?;
            Figure::of("worker-dead-cluster-full")
                .took("detection", detected)
                .took("replacement", replaced)
                .took("convergence", back.elapsed())
                .configured("report", REPORT)
                .configured("lease", LEASE)
                .configured("replace_after", REPLACE_AFTER)
                .print();
            bed.ready(&["a1", "a2", "b1"]).await?;
            root.delete("shop").await.context("delete")?;
            root.gone("shop").await
        })
        .await
}
