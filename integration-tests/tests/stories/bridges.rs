//! Two bridges of one cluster, and either one alone.

use anyhow::Result;
use edgeio_integration_tests::testbed::{
    Testbed,
    manifest::{app, native},
};

#[tokio::test]
async fn either_of_two_bridges_is_enough() -> Result<()> {
    Testbed::new("bridges")
        .cluster("a")
        .bridge("second")
        .worker("a1")
        .worker("a2")
        .run(async |bed| {
            let root = bed.root();
            root.apply(&app("shop", [bed.mark(native("job", 2))]))
                .await?;
            let mut before = root.running("shop", "job", 2).await?;
            for (victim, replicas) in [("bridge-a", 4), ("second", 6)] {
                bed.kill(victim).await?;
                root.scale("shop", "job", replicas).await?;
                let now = root
                    .running("shop", "job", usize::try_from(replicas)?)
                    .await?;
                anyhow::ensure!(
                    before.keys().all(|id| now.contains_key(id)),
                    "{before:?} became {now:?}"
                );
                before = now;
                bed.start(victim).await?;
            }
            anyhow::ensure!(bed.jobs().len() == 6, "{:?}", bed.jobs());
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}
