//! The broker is restarted, and is away for long. Nothing stops, nothing is replaced, and everybody is back by themselves.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{Bed, Figure, Testbed, eventually, tier::sketch};
use edgeio_proto::{
    api::v1::{InstancePhase, Reachability},
    cluster::v1::WorkerState,
};

use crate::{
    calm::{Calm, seconds},
    count, say,
};

const REPORT: Duration = Duration::from_millis(300);
const LEASE: Duration = Duration::from_secs(1);

fn bed(name: &str) -> Testbed {
    Testbed::new(name)
        .times(REPORT, LEASE)
        .cluster("a")
        .bridge("bridge-a2")
        .worker("a1")
        .worker_with("a2", &["--docker=off"])
        .expect("broker lost, jobs run on", "the broker is taken away")
        .expect("broker not reached", "the broker is taken away")
        .expect("the broker is not reached", "the broker is taken away")
        .expect("cannot tell a worker", "the broker is taken away")
}

#[tokio::test]
async fn a_broker_that_restarts_is_not_noticed() -> Result<()> {
    let times = count("BROKER_RESTARTS", 5);
    bed("restarts")
        .run(async |bed| {
            let calm = Calm::begin(bed, 4, 2).await?;
            let mut took = Vec::new();
            for _ in 0..times {
                bed.kill("nats-a").await?;
                calm.wish(bed).await?;
                bed.start("nats-a").await?;
                let back = calm.back(bed).await?;
                Figure::of("broker-restarted")
                    .took("convergence", back)
                    .configured("report", REPORT)
                    .configured("lease", LEASE)
                    .print();
                took.push(back);
            }
            bed.ready(&["a1", "a2"]).await?;
            let told = format!("{times} restarts; converged after {}", seconds(&took));
            say("broker", told);
            calm.end(bed).await
        })
        .await
}

#[tokio::test]
async fn a_broker_that_is_away_for_long_stops_nothing() -> Result<()> {
    bed("brokerless")
        .run(async |bed| {
            let calm = Calm::begin(bed, 4, 2).await?;
            let from = Instant::now();
            bed.kill("nats-a").await?;
            silent(bed).await?;
            let noticed = from.elapsed();
            // A wish is taken while nobody can be told.
            calm.wish(bed).await?;
            // As long again as it took until all leases were over, and more.
            calm.lasts(bed, LEASE * 6).await?;
            still_known(bed).await?;
            let away = from.elapsed();
            bed.start("nats-a").await?;
            let took = calm.back(bed).await?;
            bed.ready(&["a1", "a2"]).await?;
            Figure::of("broker-away")
                .took("detection", noticed)
                .took("convergence", took)
                .configured("report", REPORT)
                .configured("lease", LEASE)
                .print();
            say(
                "broker",
                format!(
                    "away for {}; all workers disconnected after {} (lease {}), all as before after {}",
                    seconds(&[away]),
                    seconds(&[noticed]),
                    seconds(&[LEASE]),
                    seconds(&[took])
                ),
            );
            calm.end(bed).await
        })
        .await
}

/// Waits until the cluster has missed two leases of every worker.
async fn silent(bed: &Bed) -> Result<()> {
    eventually("all workers are disconnected", async || {
        let workers = bed.cluster("a")?.list_workers().await?;
        ensure!(
            workers.len() == 2
                && workers
                    .iter()
                    .all(|w| w.state() == WorkerState::Disconnected),
            "{workers:?}"
        );
        Ok(())
    })
    .await
}

/// What runs is still said to run; the cluster says beside that that nobody is heard.
async fn still_known(bed: &Bed) -> Result<()> {
    let silent = bed.cluster("a")?.instances("still").await?;
    ensure!(
        silent
            .iter()
            .all(|i| i.reachability() == Reachability::Unreachable),
        "{}",
        sketch(&silent)
    );
    for all in [silent, bed.root().instances("still").await?] {
        ensure!(
            all.len() == 6 && all.iter().all(|i| i.phase() == InstancePhase::Running),
            "{}",
            sketch(&all)
        );
    }
    Ok(())
}
