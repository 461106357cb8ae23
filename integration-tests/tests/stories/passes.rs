//! Workers use the broker by passes that are replaced while they run, and that are void once the worker is forgotten.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed, eventually,
    manifest::{app, native},
    stolen::{Stolen, Told},
};
use edgeio_proto::cluster::v1::ForgetRequest;

#[tokio::test]
async fn passes_are_replaced_and_nobody_notices() -> Result<()> {
    let bed = Testbed::new("passes")
        .cluster("a")
        .worker("a1")
        .tier_with("cluster-a", &["--broker-pass-life=6s"]);
    bed.run(async |bed| {
        let root = bed.root();
        root.apply(&app("shop", [bed.mark(native("job", 2))]))
            .await?;
        let before = root.running("shop", "job", 2).await?;
        let jobs = bed.jobs();
        let mut seen = BTreeSet::new();
        let data = bed.data("a1");
        // Longer than any one of them is good. A worker or bridge that is thrown out says so in its log, which fails the story.
        eventually("the fourth pass is shown", async || {
            seen.insert(Stolen::from(&data)?.jwt);
            ensure!(seen.len() >= 4, "{} passes", seen.len());
            Ok(())
        })
        .await?;
        bed.ready(&["a1"]).await?;
        ensure!(bed.jobs() == jobs, "{jobs:?} became {:?}", bed.jobs());
        let now = root.running("shop", "job", 2).await?;
        ensure!(now.keys().eq(before.keys()), "{before:?} became {now:?}");
        root.delete("shop").await?;
        root.gone("shop").await
    })
    .await
}

#[tokio::test]
async fn what_is_stolen_from_a_worker_is_void_once_it_is_forgotten() -> Result<()> {
    let bed = Testbed::new("stolen")
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .expect("authentication error", "the thief tries again")
        .expect("broker lost, jobs run on", "the broker was killed")
        .expect("broker not reached", "the broker was killed")
        .expect("the broker is not reached", "the broker was killed")
        .expect("detached from the cluster", "the cluster was killed")
        .expect("cannot attach to the cluster", "the cluster was killed")
        .expect("root is away", "the cluster was killed");
    bed.run(async |bed| {
        bed.kill("a1").await?;
        let (stolen, told) = (Stolen::from(&bed.data("a1"))?, Told::default());
        let _connected = stolen.connect_and_tell(told.clone()).await?;
        let request = ForgetRequest {
            worker: "a1".to_owned(),
            force: true,
            ..ForgetRequest::default()
        };
        bed.cluster("a")?.workers().forget(request).await?;
        let forgotten = Instant::now();
        eventually("the thief is cut off", async || {
            let told = told.all();
            ensure!(told.iter().any(|event| event == "disconnected"), "{told:?}");
            Ok(())
        })
        .await?;
        let took = forgotten.elapsed();
        ensure!(took < Duration::from_secs(1), "cut off after {took:?} only");
        ensure!(stolen.connect().await.is_err(), "it was let in again");
        // A broker that begins anew knows it still, and so does a cluster.
        for program in ["nats-a", "cluster-a"] {
            bed.kill(program).await?;
            bed.start(program).await?;
            bed.ready(&["a2"]).await?;
            ensure!(
                stolen.connect().await.is_err(),
                "it was let in by a new {program}"
            );
        }
        Ok(())
    })
    .await
}
