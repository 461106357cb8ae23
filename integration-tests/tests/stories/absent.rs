//! A deletion reaches a worker that was away, when it returns.

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed,
    manifest::{app, container, native},
};
use edgeio_proto::api::v1::ApplicationPhase;

use crate::seen::seen;

#[tokio::test]
async fn a_deletion_waits_for_a_worker_that_is_away() -> Result<()> {
    let bed = Testbed::new("absent").cluster("a").worker("a1");
    bed.run(async |bed| {
        let root = bed.root();
        let image = bed.image().await?;
        let services = [container("web", 2, &image), bed.mark(native("job", 2))];
        root.apply(&app("shop", services)).await?;
        let web = root.running("shop", "web", 2).await?;
        let job = root.running("shop", "job", 2).await?;
        let before = seen(bed, &web, &job).await?;

        bed.kill("a1").await?;
        let deleting = root.delete("shop").await?.status.context("no status")?;
        ensure!(
            deleting.phase() == ApplicationPhase::Deleting && deleting.waiting_for == ["a"],
            "{deleting:?}"
        );
        // An Apply of that name has to wait too, and says for whom.
        let refused = root.apply(&app("shop", [native("job", 1)])).await;
        let words = refused.err().map(|e| format!("{e:#}")).unwrap_or_default();
        ensure!(words.contains("being deleted"), "{words}");
        ensure!(
            seen(bed, &web, &job).await? == before,
            "something stopped by itself"
        );

        bed.start("a1").await?;
        root.gone("shop").await?;
        bed.nothing_left().await?;
        bed.cluster("a")?.gone("shop").await?;
        root.apply(&app("shop", [bed.mark(native("job", 1))]))
            .await?;
        root.running("shop", "job", 1).await?;
        root.delete("shop").await?;
        root.gone("shop").await
    })
    .await
}
