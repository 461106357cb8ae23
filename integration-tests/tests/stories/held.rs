//! What runs though nobody asks for it: listed, adopted under its own id or stopped by a decision, at the cluster and at the
//! root, and never by itself.

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Testbed, Tier, eventually,
    manifest::{app, native},
    tier::{Running, sketch},
};
use edgeio_proto::api::v1::{Held, HeldDecision, HeldKind, ListHeldRequest, ResolveHeldRequest};

use crate::{database::lose, seen::seen};

async fn listed(tier: &Tier, name: &str) -> Result<Vec<Held>> {
    let request = ListHeldRequest {
        application: name.to_owned(),
        ..ListHeldRequest::default()
    };
    let answer = tier.applications().list_held(request).await;
    Ok(answer.context("list what is held")?.into_inner().held)
}

/// Waits until so many of an application are held, with their specs.
async fn held(tier: &Tier, name: &str, count: usize) -> Result<Vec<Held>> {
    eventually(
        "what runs is held and its spec was asked back",
        async || {
            let all = listed(tier, name).await?;
            let good = all.iter().all(|h| h.spec_known);
            ensure!(all.len() == count && good, "{all:?}");
            Ok(all)
        },
    )
    .await
}

async fn decide(tier: &Tier, held: &Held, decision: HeldDecision) -> Result<()> {
    let request = ResolveHeldRequest {
        id: held.id.clone(),
        decision: decision.into(),
        request_id: String::new(),
    };
    let answer = tier.applications().resolve_held(request).await;
    answer.context("decide")?;
    Ok(())
}

#[tokio::test]
async fn what_nobody_asks_for_runs_until_somebody_decides() -> Result<()> {
    Testbed::new("held")
        .cluster("a")
        .worker("a1")
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
    cluster
        .apply(&app("local", [bed.mark(native("own", 3))]))
        .await?;
    let own = cluster.running("local", "own", 3).await?;
    let before = seen(bed, &none, &own).await?;

    // The cluster loses its database, and with it the spec: the worker has both.
    bed.kill("cluster-a").await?;
    lose(&bed.data("cluster-a"), "cluster.db")?;
    bed.start("cluster-a").await?;
    let all = held(cluster, "local", 3).await?;
    ensure!(
        all.iter().all(|h| h.kind() == HeldKind::Hold
            && h.owner == "cluster a"
            && own.contains_key(&h.id)),
        "{all:?} was {own:?}"
    );
    let [first, second, third] = &all[..] else {
        anyhow::bail!("three are held");
    };
    decide(cluster, first, HeldDecision::Adopt).await?;
    eventually("one is a replica again", async || {
        let status = cluster
            .get("local")
            .await?
            .and_then(|a| a.status)
            .unwrap_or_default();
        ensure!(
            status
                .services
                .iter()
                .any(|s| s.replicas == 1 && s.running == 1),
            "{status:?}"
        );
        Ok(())
    })
    .await?;
    ensure!(
        listed(cluster, "local").await?.len() == 2,
        "nobody decided on the others"
    );
    ensure!(
        seen(bed, &none, &own).await? == before,
        "something was touched"
    );
    decide(cluster, second, HeldDecision::Accept).await?;
    decide(cluster, third, HeldDecision::Adopt).await?;
    let left = cluster.running("local", "own", 2).await?;
    ensure!(
        left.contains_key(&first.id) && left.contains_key(&third.id),
        "{left:?}"
    );
    let now = seen(bed, &none, &left).await?;
    before.holds(&now)?;
    ensure!(listed(cluster, "local").await?.is_empty(), "all is decided");
    // The root hears of it as of any application of the cluster.
    let mirrored = root.running("local", "own", 2).await?;
    ensure!(mirrored.keys().eq(left.keys()), "{mirrored:?}");

    // An old copy of the root's database: from before the application existed.
    bed.stop("root").await?;
    let (live, copy) = (bed.data("root"), bed.dir().join("copy"));
    copy_dir(&live, &copy)?;
    bed.start("root").await?;
    root.apply(&app("shop", [bed.mark(native("job", 2))]))
        .await?;
    let job = root.running("shop", "job", 2).await?;
    bed.kill("root").await?;
    lose(&live, "root.db")?;
    copy_dir(&copy, &live)?;
    bed.start("root").await?;
    let all = held(root, "shop", 2).await?;
    let orphans = listed(cluster, "shop").await?;
    ensure!(
        orphans
            .iter()
            .map(|h| (&h.id, h.kind()))
            .eq(all.iter().map(|h| (&h.id, HeldKind::Orphan))),
        "{orphans:?} are not {all:?}"
    );
    let [first, second] = &all[..] else {
        anyhow::bail!("two are held");
    };
    let refused = decide(cluster, first, HeldDecision::Adopt).await;
    let refused = refused.err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(
        refused.contains("owned by root") && refused.contains(root.address()),
        "{refused}"
    );
    decide(root, first, HeldDecision::Adopt).await?;
    decide(root, second, HeldDecision::Accept).await?;
    eventually("one runs on, the other has stopped", async || {
        let now = root.instances("shop").await?;
        let kept = now.len() == 1
            && now
                .iter()
                .all(|i| job.contains_key(&i.id) && i.reason.is_empty());
        ensure!(kept, "{}", sketch(&now));
        ensure!(
            listed(root, "shop").await?.is_empty() && listed(cluster, "shop").await?.is_empty(),
            "still held"
        );
        Ok(())
    })
    .await?;
    let kept = root.running("shop", "job", 1).await?;
    let all: Running = left.into_iter().chain(kept).collect();
    seen(bed, &none, &all).await?;
    root.delete("shop").await?;
    root.gone("shop").await?;
    cluster.delete("local").await?;
    cluster.gone("local").await
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(to).context("make a directory")?;
    for entry in std::fs::read_dir(from).context("list the files")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if name.to_string_lossy().starts_with("root.db") {
            std::fs::copy(&path, to.join(name)).context("copy a file")?;
        }
    }
    Ok(())
}
