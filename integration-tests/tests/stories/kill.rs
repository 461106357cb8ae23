//! Every process is killed in turn, then all at once, while five containers and five native jobs run. All converges, and
//! what ran is not touched.

use anyhow::Result;
use edgeio_integration_tests::testbed::{
    Bed, Testbed,
    manifest::{app, container, native},
};

use crate::seen::{Seen, seen};

const WORKERS: [&str; 2] = ["a1", "a2"];

/// Waits until so many run, by all accounts.
async fn converged(bed: &Bed, containers: usize, jobs: usize) -> Result<Seen> {
    let web = bed.root().running("shop", "web", containers).await?;
    let job = bed.root().running("shop", "job", jobs).await?;
    seen(bed, &web, &job).await
}

#[tokio::test]
async fn nothing_that_runs_notices_a_kill_of_anything() -> Result<()> {
    Testbed::new("kill")
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .expect("root is away", "the root was killed")
        .expect("detached from the cluster", "the cluster was killed")
        .expect("cannot attach to the cluster", "the cluster was killed")
        .expect("broker lost, jobs run on", "the broker was killed")
        .expect("broker not reached", "the broker was killed")
        .expect("the broker is not reached", "the broker was killed")
        .run(async |bed| {
            let root = bed.root();
            let image = bed.image().await?;
            let services = [container("web", 5, &image), bed.mark(native("job", 5))];
            root.apply(&app("shop", services)).await?;
            let before = converged(bed, 5, 5).await?;
            for victim in ["root", "cluster-a", "bridge-a", "nats-a", "a1", "a2"] {
                // One change is under way when it dies, the other is made while it is away.
                root.scale("shop", "job", 6).await?;
                bed.kill(victim).await?;
                if victim != "root" {
                    root.scale("shop", "web", 6).await?;
                }
                bed.start(victim).await?;
                if victim == "root" {
                    root.scale("shop", "web", 6).await?;
                }
                converged(bed, 6, 6).await?.holds(&before)?;
                root.scale("shop", "web", 5).await?;
                root.scale("shop", "job", 5).await?;
                converged(bed, 5, 5).await?.holds(&before)?;
                bed.ready(&WORKERS).await?;
            }
            let all = ["root", "nats-a", "cluster-a", "bridge-a", "a1", "a2"];
            for victim in all {
                bed.kill(victim).await?;
            }
            // Workers first: they come back with nobody to talk to.
            for victim in all.iter().rev() {
                bed.start(victim).await?;
            }
            bed.ready(&WORKERS).await?;
            converged(bed, 5, 5).await?.holds(&before)?;
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}
