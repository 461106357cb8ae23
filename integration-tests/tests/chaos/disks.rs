//! A worker's small disk runs full: it starts nothing that it could not note, what runs goes on, and when there is room again
//! it goes on by itself, without a restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{Testbed, diary::Diary, fill, manifest::app, tier::sketch};
use edgeio_proto::api::v1::InstancePhase;

use crate::{
    calm::{Calm, seconds},
    count, say,
};

const WORKER_DISK: u32 = 1;
/// How long a disk stays full.
const FULL: Duration = Duration::from_secs(5);
const FILLER: &str = "filler";

fn bed(name: &str, small: &str, mebibytes: u32) -> Testbed {
    Testbed::new(name)
        .small_disk(small, mebibytes)
        .cluster("a")
        .worker_with("a1", &["--docker=off"])
        .worker_with("a2", &["--docker=off"])
}

#[tokio::test]
async fn a_worker_whose_disk_is_full_starts_nothing_and_stops_nothing() -> Result<()> {
    bed("workerdisk", "a1", WORKER_DISK)
        .expect(
            "orders could not be written to the ledger",
            "the worker's disk is full",
        )
        .expect("the ledger cannot be written", "the worker's disk is full")
        .run(async |bed| {
            let (root, calm) = (bed.root(), Calm::begin(bed, 4, 0).await?);
            let pid = bed.program("a1")?.pid();
            for _ in 0..count("DISK_ROUNDS", 1) {
                let filler = bed.data("a1").join(FILLER);
                fill(&filler)?;
                // Some of them must go there: the other worker has as many.
                let more = app("more", [Diary::of(bed).keeper(bed, "job", 6, "w0")]);
                root.apply(&more).await?;
                calm.lasts(bed, FULL).await?;
                let all = root.instances("more").await?;
                let here = all.iter().filter(|i| i.worker == "a1");
                let begun = here.filter(|i| i.phase() == InstancePhase::Running).count();
                ensure!(begun == 0, "without a ledger: {}", sketch(&all));
                std::fs::remove_file(&filler).context("make room")?;
                let from = Instant::now();
                root.running("more", "job", 6).await?;
                let taken = from.elapsed();
                let took = calm.back(bed).await?;
                ensure!(
                    pid.is_some() && bed.program("a1")?.pid() == pid,
                    "the worker was restarted"
                );
                say(
                    "disks",
                    format!(
                        "worker on {WORKER_DISK} MiB: full for {}; new work runs {} after there was room, all as before \
                         after {}",
                        seconds(&[FULL]),
                        seconds(&[taken]),
                        seconds(&[took])
                    ),
                );
                root.delete("more").await?;
                root.gone("more").await?;
            }
            calm.end(bed).await
        })
        .await
}
