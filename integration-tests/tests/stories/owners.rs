//! A cluster takes applications by its own door while the root is away, and tells the root of them later. The root shows them
//! and changes nothing of them, whatever becomes of its database or of the cluster's.

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Testbed, Tier, eventually,
    manifest::{app, native},
    tier::{Running, sketch},
};
use edgeio_proto::api::v1::{
    ApplicationPhase, InstancePhase, ResourceSpec, ScaleRequest, ServiceSpec,
};
use tonic::Code;

use crate::{database::lose, seen::seen};

/// Reserved on the worker; limits are not what this is about.
fn core(service: ServiceSpec) -> ServiceSpec {
    ServiceSpec {
        resources: Some(ResourceSpec {
            cpu: "1".to_owned(),
            memory: String::new(),
        }),
        ..service
    }
}

/// Waits until the root shows the cluster's application as it is there.
async fn mirrored(root: &Tier, replicas: usize, ids: &Running) -> Result<()> {
    let shown = root.running("local", "own", replicas).await?;
    ensure!(shown.keys().eq(ids.keys()), "{shown:?} is not {ids:?}");
    eventually("the root shows whose it is", async || {
        let app = root.get("local").await?.context("the root shows it")?;
        let status = app.status.clone().unwrap_or_default();
        let spec = app.spec.clone().unwrap_or_default().services;
        ensure!(
            app.owner == "cluster a"
                && status.phase() == ApplicationPhase::Ready
                && spec
                    .iter()
                    .any(|s| s.replicas == u32::try_from(replicas).ok() && !s.command.is_empty()),
            "{app:?}"
        );
        Ok(())
    })
    .await
}

async fn held(tier: &Tier, name: &str, count: usize) -> Result<()> {
    eventually("what runs is held", async || {
        let all = tier.instances(name).await?;
        let good = all.len() == count
            && all
                .iter()
                .all(|i| i.phase() == InstancePhase::Running && i.reason == "Held");
        ensure!(good, "{}", sketch(&all));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_cluster_owns_what_it_took_while_the_root_was_away() -> Result<()> {
    Testbed::new("owners")
        .cluster("a")
        .worker_with(
            "a1",
            &["--capacity=cpu=4,memory=8Gi", "--native-without-limits=run"],
        )
        .expect("root is away", "it was killed")
        .expect(
            "another session of this worker",
            "the new database counts sessions anew",
        )
        .expect("detached from the cluster", "the cluster was killed")
        .expect("cannot attach to the cluster", "the cluster was killed")
        .run(story)
        .await
}

async fn story(bed: &Bed) -> Result<()> {
    let (root, cluster) = (bed.root(), bed.cluster("a")?);
    let none = Running::new();
    let local = |replicas| app("local", [bed.mark(core(native("own", replicas)))]);

    bed.kill("root").await?;
    let applied = cluster.apply(&local(2)).await?;
    ensure!(applied.owner == "cluster a", "{applied:?}");
    let own = cluster.running("local", "own", 2).await?;
    bed.start("root").await?;
    mirrored(root, 2, &own).await?;
    cluster.scale("local", "own", 3).await?;
    let own = cluster.running("local", "own", 3).await?;
    mirrored(root, 3, &own).await?;

    // It is changed at its owner's door.
    let request = ScaleRequest {
        name: "local".to_owned(),
        replicas: 1,
        ..ScaleRequest::default()
    };
    let refused = root.applications().scale(request).await;
    let refused = refused
        .err()
        .context("the root scaled what is a cluster's")?;
    ensure!(
        refused.code() == Code::FailedPrecondition
            && refused.message().contains("cluster a")
            && refused.message().contains(cluster.address()),
        "{refused:?}"
    );

    // Three of four cores are the cluster's: the root has one.
    bed.ready(&["a1"]).await?;
    root.apply(&app("shop", [bed.mark(core(native("job", 2)))]))
        .await?;
    eventually("one fits, the other waits", async || {
        let all = root.instances("shop").await?;
        let runs = |i: &&_| edgeio_proto::api::v1::Instance::phase(i) == InstancePhase::Running;
        let waits = all
            .iter()
            .filter(|i| i.id.is_empty() && !i.candidates.is_empty());
        ensure!(
            all.iter().filter(runs).count() == 1 && waits.count() == 1,
            "{}",
            sketch(&all)
        );
        Ok(())
    })
    .await?;
    cluster.scale("local", "own", 2).await?;
    let job = root.running("shop", "job", 2).await?;
    let own = cluster.running("local", "own", 2).await?;
    mirrored(root, 2, &own).await?;
    let all: Running = own.clone().into_iter().chain(job.clone()).collect();
    let before = seen(bed, &none, &all).await?;

    // The root loses its database: it is told again, and holds only what was its own.
    bed.kill("root").await?;
    lose(&bed.data("root"), "root.db")?;
    bed.start("root").await?;
    mirrored(root, 2, &own).await?;
    held(root, "shop", 2).await?;
    root.apply(&app("shop", [bed.mark(core(native("job", 2)))]))
        .await?;
    let again = root.running("shop", "job", 2).await?;
    ensure!(again.keys().eq(job.keys()), "{again:?} was {job:?}");

    // The cluster loses its database: the root tells it of its own, and what was the cluster's is held there.
    bed.kill("cluster-a").await?;
    lose(&bed.data("cluster-a"), "cluster.db")?;
    bed.start("cluster-a").await?;
    held(cluster, "local", 2).await?;
    let again = root.running("shop", "job", 2).await?;
    ensure!(again.keys().eq(job.keys()), "{again:?} was {job:?}");
    root.gone("local").await?;
    ensure!(
        seen(bed, &none, &all).await? == before,
        "something was touched"
    );
    cluster.apply(&local(2)).await?;
    let again = cluster.running("local", "own", 2).await?;
    ensure!(again.keys().eq(own.keys()), "{again:?} was {own:?}");
    mirrored(root, 2, &own).await?;
    ensure!(
        seen(bed, &none, &all).await? == before,
        "something was touched"
    );

    // One name, two owners.
    root.apply(&app("local", [bed.mark(native("other", 1))]))
        .await?;
    let other = root.running("local", "other", 1).await?;
    ensure!(
        root.get("local").await?.is_some_and(|a| a.owner == "root"),
        "the root's own comes first"
    );
    root.running("local", "own", 2).await?;
    root.delete("local").await?;
    root.running("local", "other", 0).await?;
    mirrored(root, 2, &own).await?;
    ensure!(!other.is_empty(), "it ran");

    cluster.delete("local").await?;
    cluster.gone("local").await?;
    root.gone("local").await?;
    root.delete("shop").await?;
    root.gone("shop").await
}
