//! Links that lose everything one way, the other way or both, or come and go. No reset is sent and nobody is told. Nothing
//! stops, nothing is replaced, and what was wished meanwhile is done after the link is whole again.
//!
//! A worker, a bridge and the root have links of their own; a second worker has none, and is there to show that a cut changes
//! nothing elsewhere.

use std::time::Duration;

use anyhow::{Context, Result};
use edgeio_integration_tests::testbed::{Bed, Figure, Testbed, Way};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    calm::{Calm, seconds},
    count, say, seed,
};

const REPORT: Duration = Duration::from_millis(300);
const LEASE: Duration = Duration::from_secs(1);
/// Two leases make a child disconnected; its parent looks once a second.
const CUT: Duration = Duration::from_millis(3500);
/// A link that comes and goes: shorter than any lease, so that sessions begin and break.
const FLAP: Duration = Duration::from_millis(250);

/// How a link fails.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Cut(Way),
    Flapping,
}

#[tokio::test]
async fn cut_links_stop_nothing() -> Result<()> {
    let (seed, cycles) = (seed(), count("PARTITIONS", 6));
    say("partitions", format!("seed {seed}, {cycles} cycles"));
    let told = Testbed::new("partitions")
        .times(REPORT, LEASE)
        .apart("root")
        .apart("bridge-a")
        .apart("a1")
        .cluster("a")
        .worker("a1")
        .worker_with("a2", &["--docker=off"])
        .expect("root is away", "its link is cut")
        .expect("detached from the cluster", "the bridge's link is cut")
        .expect("cannot attach to the cluster", "the bridge's link is cut")
        .expect("broker lost, jobs run on", "the worker's link is cut")
        .expect("broker not reached", "the bridge's link is cut")
        .expect("the broker is not reached", "the bridge's link is cut")
        .expect("cannot tell a worker", "the bridge's link is cut")
        .run(async |bed| story(bed, seed, cycles).await);
    told.await
        .with_context(|| format!("EDGEIO_CHAOS_SEED={seed}"))
}

async fn story(bed: &Bed, seed: u64, cycles: u64) -> Result<()> {
    let mut dice = StdRng::seed_from_u64(seed);
    let calm = Calm::begin(bed, 4, 2).await?;
    let cluster: u16 = port_of(bed.cluster("a")?.address())?;
    // A bridge has two ends: only that to the cluster, then all of it.
    let links = [
        ("a1", None),
        ("bridge-a", Some(cluster)),
        ("root", None),
        ("bridge-a", None),
    ];
    let mut left: Vec<_> = Vec::new();
    for _ in 0..cycles {
        // Each link once before any comes again.
        if left.is_empty() {
            left = links.to_vec();
        }
        let (name, port) = left.swap_remove(dice.random_range(0..left.len()));
        let faults = [
            Fault::Cut(Way::Out),
            Fault::Cut(Way::In),
            Fault::Cut(Way::Both),
            Fault::Flapping,
        ];
        let fault = *faults.choose(&mut dice).context("no faults")?;
        let link = bed.link(name)?;
        match fault {
            Fault::Cut(way) => {
                link.cut(way, port)?;
                calm.wish(bed).await?;
                calm.lasts(bed, CUT).await?;
            }
            Fault::Flapping => {
                for turn in 0..CUT.as_millis() / (2 * FLAP.as_millis()) {
                    let ways = [Way::Out, Way::In, Way::Both];
                    link.cut(*ways.choose(&mut dice).context("no ways")?, port)?;
                    if turn == 0 {
                        calm.wish(bed).await?;
                    }
                    calm.lasts(bed, FLAP).await?;
                    link.heal()?;
                    calm.lasts(bed, FLAP).await?;
                }
            }
        }
        link.heal()?;
        let took = calm
            .back(bed)
            .await
            .with_context(|| format!("{name} {port:?} {fault:?}"))?;
        Figure::of(
            &format!("link-{fault:?}")
                .replace(['(', ')'], "-")
                .to_lowercase(),
        )
        .took("convergence", took)
        .configured("cut", CUT)
        .configured("report", REPORT)
        .configured("lease", LEASE)
        .print();
        let end = if port.is_some() {
            " at the cluster's end"
        } else {
            ""
        };
        say(
            "partitions",
            format!(
                "{name}{end}, {fault:?}: as before after {}",
                seconds(&[took])
            ),
        );
    }
    bed.ready(&["a1", "a2"]).await?;
    calm.end(bed).await
}

fn port_of(address: &str) -> Result<u16> {
    let port = address.rsplit_once(':').context("an address has a port")?.1;
    port.parse().context("read a port")
}
