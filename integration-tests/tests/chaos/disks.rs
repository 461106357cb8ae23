//! Small disks run full: a root's, a cluster's, a worker's. New work is refused and the refusal says why; what runs goes on;
//! and when there is room again, all go on by themselves, without a restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Figure, Testbed, Tier, diary::Diary, eventually, fill, manifest::app, tier::sketch,
};
use edgeio_proto::api::v1::{ApplyRequest, InstancePhase};
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{
    calm::{Calm, seconds},
    count, say,
};

/// Room for a database and its log, which SQLite lets grow to 4 MiB, and for no more.
const TIER_DISK: u32 = 8;
const WORKER_DISK: u32 = 1;
/// How long a disk stays full.
const FULL: Duration = Duration::from_secs(5);
const FILLER: &str = "filler";
/// What is written may still fit into a log that was larger before; it never holds so many applications.
const WISHES: usize = 3000;

fn bed(name: &str, small: &str, mebibytes: u32) -> Testbed {
    Testbed::new(name)
        .small_disk(small, mebibytes)
        .cluster("a")
        .worker_with("a1", &["--docker=off"])
        .worker_with("a2", &["--docker=off"])
}

/// How many of the applications that were taken while the disk was full are more than a record.
const RUNNING: usize = 3;

/// Applies an application; the refusal of a full disk is `false`.
async fn wish(bed: &Bed, tier: &Tier, name: &str, replicas: u32) -> Result<bool> {
    let job = Diary::of(bed).keeper(bed, "job", replicas, "w0");
    let request = ApplyRequest {
        application: Some(app(name, [job])),
        request_id: Uuid::new_v4().to_string(),
        ..ApplyRequest::default()
    };
    let Err(refused) = tier.applications().apply(request).await else {
        return Ok(true);
    };
    let reason = refused.get_error_details().error_info().cloned();
    ensure!(
        refused.code() == Code::ResourceExhausted
            && refused.message().contains("free space")
            && reason.as_ref().is_some_and(|r| r.reason == "STORE_FULL"),
        "{refused:?} {reason:?}"
    );
    Ok(false)
}

/// Fills a disk, and goes on wishing until it is refused. What was acknowledged before is noted: a refused commit leaves room
/// for a smaller one.
async fn run_full(
    bed: &Bed,
    program: &str,
    tier: &Tier,
    acknowledged: &mut Vec<String>,
) -> Result<()> {
    while acknowledged.len() < WISHES {
        // Again, for what was made room for meanwhile.
        fill(&bed.data(program).join(FILLER))?;
        let name = format!("full-{}", acknowledged.len());
        let replicas = u32::from(acknowledged.len() < RUNNING);
        if !wish(bed, tier, &name, replicas).await? {
            return Ok(());
        }
        acknowledged.push(name);
    }
    bail!("{program} never ran full");
}

/// The story of a tier whose disk runs full.
async fn story(bed: &Bed, program: &str, tier: &Tier) -> Result<()> {
    let calm = Calm::begin(bed, 4, 0).await?;
    let pid = bed.program(program)?.pid();
    for round in 0..count("DISK_ROUNDS", 1) {
        let mut acknowledged = Vec::new();
        let (mut refused, until) = (0, Instant::now() + FULL);
        while Instant::now() < until {
            run_full(bed, program, tier, &mut acknowledged).await?;
            refused += 1;
            calm.lasts(bed, FULL / 10).await?;
            ensure!(tier.get("still").await?.is_some(), "it can still be read");
        }
        let filler = bed.data(program).join(FILLER);
        std::fs::remove_file(&filler).context("make room")?;
        let from = Instant::now();
        let name = format!("room-{round}");
        eventually("new work is taken again", async || {
            ensure!(wish(bed, tier, &name, 1).await?, "still full");
            Ok(())
        })
        .await?;
        let taken = from.elapsed();
        for name in acknowledged.iter().take(RUNNING).chain([&name]) {
            tier.running(name, "job", 1).await?;
        }
        let runs = from.elapsed();
        let took = calm.back(bed).await?;
        ensure!(
            pid.is_some() && bed.program(program)?.pid() == pid,
            "{program} was restarted"
        );
        for name in acknowledged.iter().chain([&name]) {
            let there = tier.get(name).await?;
            ensure!(there.is_some(), "{name} was acknowledged and is lost");
            tier.delete(name).await?;
        }
        for name in acknowledged.iter().chain([&name]) {
            tier.gone(name).await?;
        }
        Figure::of(&format!("disk-full-{}", program.replace("-a", "")))
            .took("replacement", runs)
            .took("convergence", took)
            .configured("full", FULL)
            .print();
        say(
            "disks",
            format!(
                "{program} on {TIER_DISK} MiB: refused {refused} times, {} taken between, full for {}; new work taken {} and running {} \
                 after there was room, all as before after {}",
                acknowledged.len(),
                seconds(&[FULL]),
                seconds(&[taken]),
                seconds(&[runs]),
                seconds(&[took])
            ),
        );
    }
    calm.end(bed).await
}

#[tokio::test]
async fn a_root_whose_disk_is_full_refuses_and_goes_on() -> Result<()> {
    bed("rootdisk", "root", TIER_DISK)
        .expect("engine run failed", "the root's disk is full")
        .expect("recording or sending failed", "the root's disk is full")
        .run(async |bed| story(bed, "root", bed.root()).await)
        .await
}

#[tokio::test]
async fn a_cluster_whose_disk_is_full_refuses_and_goes_on() -> Result<()> {
    bed("clusterdisk", "cluster-a", TIER_DISK)
        .expect("engine run failed", "the cluster's disk is full")
        .expect("recording or sending failed", "the cluster's disk is full")
        .expect(
            "what the root sent could not be kept",
            "the cluster's disk is full",
        )
        .run(async |bed| story(bed, "cluster-a", bed.cluster("a")?).await)
        .await
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
                Figure::of("disk-full-worker")
                    .took("replacement", taken)
                    .took("convergence", took)
                    .configured("full", FULL)
                    .print();
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
