//! Connections that grow old: everybody comes again on a new one, and nothing is lost by it.

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Testbed, eventually,
    manifest::{app, native},
};

/// How often a program has come again since its connection was old.
fn came_again(bed: &Bed, program: &str) -> Result<usize> {
    let printed = bed.program(program)?.printed();
    Ok(printed.matches("coming on a new one").count())
}

#[tokio::test]
async fn links_survive_that_their_connections_grow_old() -> Result<()> {
    Testbed::new("ages")
        .tier_with("root", &["--connection-age=1s"])
        .cluster("a")
        .tier_with("cluster-a", &["--connection-age=1s"])
        .worker("a1")
        .run(async |bed| {
            let root = bed.root();
            root.apply(&app("shop", [bed.mark(native("job", 1))]))
                .await?;
            let first = root.running("shop", "job", 1).await?;
            // While the links change over again and again, orders and reports pass.
            for replicas in [2, 3, 4, 3, 2, 1] {
                let seen = (came_again(bed, "cluster-a")?, came_again(bed, "bridge-a")?);
                root.scale("shop", "job", replicas).await?;
                root.running("shop", "job", replicas as usize).await?;
                eventually("both links come on new connections", async || {
                    let now = (came_again(bed, "cluster-a")?, came_again(bed, "bridge-a")?);
                    ensure!(now.0 > seen.0 && now.1 > seen.1, "{seen:?} {now:?}");
                    Ok(())
                })
                .await?;
            }
            let last = root.running("shop", "job", 1).await?;
            ensure!(first.keys().eq(last.keys()), "{first:?} {last:?}");
            let (was, is) = (first.values().next(), last.values().next());
            ensure!(
                was.map(|i| &i.handle) == is.map(|i| &i.handle),
                "the job was started again: {was:?} {is:?}"
            );
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}
