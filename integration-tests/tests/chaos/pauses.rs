//! Every process in turn, and then all at once, stands still for longer than two leases and goes on as if nothing had been: a
//! frozen machine, a laptop that slept. Nothing stops, and everything is as before soon after.

use std::time::Duration;

use anyhow::Result;
use edgeio_integration_tests::testbed::{Figure, Testbed};

use crate::{
    calm::{Calm, seconds},
    count, say,
};

const REPORT: Duration = Duration::from_millis(300);
const LEASE: Duration = Duration::from_secs(1);
/// Two leases make a child disconnected; its parent looks once a second.
const FROZEN: Duration = Duration::from_millis(3500);

#[tokio::test]
async fn whoever_stands_still_goes_on_where_it_was() -> Result<()> {
    let rounds = count("PAUSE_ROUNDS", 1);
    Testbed::new("pauses")
        .times(REPORT, LEASE)
        .cluster("a")
        .worker("a1")
        .worker_with("a2", &["--docker=off"])
        .expect("root is away", "it stands still")
        .expect("detached from the cluster", "the cluster stands still")
        .expect("cannot attach to the cluster", "the cluster stands still")
        .expect("broker lost, jobs run on", "the broker stands still")
        .expect("broker not reached", "the broker stands still")
        .expect("the broker is not reached", "the broker stands still")
        .expect("cannot tell a worker", "the broker stands still")
        .expect("Readloop processing time", "the broker stood still")
        .expect(
            "slow threshold",
            "it stands still while it waits for its database",
        )
        .run(async |bed| {
            let calm = Calm::begin(bed, 4, 2).await?;
            let each = ["bridge-a", "cluster-a", "root", "a1", "nats-a"];
            for _ in 0..rounds {
                let mut took = Vec::new();
                for name in each {
                    bed.freeze(name)?;
                    if name != "root" {
                        calm.wish(bed).await?;
                    }
                    calm.lasts(bed, FROZEN).await?;
                    bed.thaw(name)?;
                    let back = calm.back(bed).await?;
                    frozen(&name.replace("-a", ""), back);
                    took.push(back);
                }
                let all = ["root", "nats-a", "cluster-a", "bridge-a", "a1", "a2"];
                for name in all {
                    bed.freeze(name)?;
                }
                calm.lasts(bed, FROZEN).await?;
                for name in all {
                    bed.thaw(name)?;
                }
                let back = calm.back(bed).await?;
                frozen("all", back);
                took.push(back);
                bed.ready(&["a1", "a2"]).await?;
                say(
                    "pauses",
                    format!(
                        "each of {each:?} and then all for {} (lease {}); as before after {}",
                        seconds(&[FROZEN]),
                        seconds(&[LEASE]),
                        seconds(&took)
                    ),
                );
            }
            calm.wish(bed).await?;
            calm.back(bed).await?;
            calm.end(bed).await
        })
        .await
}

fn frozen(who: &str, convergence: Duration) {
    Figure::of(&format!("frozen-{who}"))
        .took("convergence", convergence)
        .configured("frozen", FROZEN)
        .configured("report", REPORT)
        .configured("lease", LEASE)
        .print();
}
