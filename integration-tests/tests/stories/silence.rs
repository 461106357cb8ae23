//! Silence on real processes: what a worker that died ran is replaced, what comes back is reconciled by each policy, and when
//! nobody is heard nothing is replaced until an operator says so.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Figure, Testbed, eventually,
    manifest::{app, native},
};
use edgeio_proto::{
    api::v1::{DisconnectSpec, Instance, ServiceSpec},
    cluster::v1::{FenceRequest, ReleaseRequest, Replacement, Worker, WorkerState},
};

/// Short times: three reports a lease, and two leases until anything is replaced.
const REPORT: Duration = Duration::from_millis(500);
const LEASE: Duration = Duration::from_secs(3);
const REPLACE: &[&str] = &["--replace-after=8s", "--lost-after=1h"];
const REPLACE_AFTER: Duration = Duration::from_secs(8);

const POLICIES: [&str; 3] = ["keep-original", "keep-replacement", "longest-running"];

fn service(policy: &str) -> ServiceSpec {
    let disconnect = DisconnectSpec {
        reconcile: policy.to_owned(),
        ..DisconnectSpec::default()
    };
    ServiceSpec {
        disconnect: Some(disconnect),
        ..native(policy, 3)
    }
}

fn bed(name: &str) -> Testbed {
    Testbed::new(name)
        .times(REPORT, LEASE)
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .worker("a3")
        .tier_with("cluster-a", REPLACE)
}

/// Waits until a worker is as is said.
async fn worker(bed: &Bed, name: &str, state: WorkerState, replacement: Replacement) -> Result<()> {
    eventually(
        &format!("{name} is {state:?} {replacement:?}"),
        async || {
            let all: Vec<Worker> = bed.cluster("a")?.list_workers().await?;
            let found = all.into_iter().find(|w| w.name == name);
            let found = found.with_context(|| format!("no {name}"))?;
            ensure!(
                (found.state(), found.replacement()) == (state, replacement),
                "{found:?}"
            );
            Ok(())
        },
    )
    .await
}

/// The instances of a service, once three run that are heard, none of them on `without`.
async fn running(bed: &Bed, service: &str, without: &str) -> Result<Vec<Instance>> {
    let tier = bed.cluster("a")?;
    eventually(&format!("{service} runs without {without:?}"), async || {
        let all = tier.running("shop", service, 3).await?;
        ensure!(all.values().all(|i| i.worker != without), "{all:?}");
        Ok(all.into_values().collect())
    })
    .await
}

fn on(instances: &[Instance], worker: &str) -> BTreeSet<String> {
    let there = instances.iter().filter(|i| i.worker == worker);
    there.map(|i| i.id.clone()).collect()
}

async fn jobs(bed: &Bed, count: usize) -> Result<()> {
    eventually(&format!("{count} processes run"), async || {
        let jobs = bed.jobs();
        ensure!(jobs.len() == count, "{jobs:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_dead_worker_is_replaced_and_its_return_is_reconciled() -> Result<()> {
    bed("replaced")
        .run(async |bed| {
            let root = bed.root();
            let services = POLICIES.map(|policy| bed.mark(service(policy)));
            root.apply(&app("shop", services)).await?;
            let mut before = Vec::new();
            for policy in POLICIES {
                before.push(on(&running(bed, policy, "").await?, "a1"));
            }
            let there: usize = before.iter().map(BTreeSet::len).sum();
            ensure!(there > 0, "nothing is on a1");
            jobs(bed, 9).await?;

            // Its jobs run on: only the agent is dead.
            bed.kill("a1").await?;
            let killed = Instant::now();
            worker(bed, "a1", WorkerState::Suspect, Replacement::Unspecified).await?;
            let suspected = killed.elapsed();
            worker(bed, "a1", WorkerState::Disconnected, Replacement::Proven).await?;
            let disconnected = killed.elapsed();
            let mut instead = Vec::new();
            for policy in POLICIES {
                instead.push(running(bed, policy, "a1").await?);
            }
            jobs(bed, 9 + there).await?;
            let replaced = killed.elapsed();
            // The root sees the copies that are heard.
            for policy in POLICIES {
                let seen = root.running("shop", policy, 3).await?;
                ensure!(seen.values().all(|i| i.worker != "a1"), "{seen:?}");
            }

            let back = Instant::now();
            bed.start("a1").await?;
            worker(bed, "a1", WorkerState::Ready, Replacement::Unspecified).await?;
            jobs(bed, 9).await?;
            Figure::of("worker-dead")
                .took("suspect", suspected)
                .took("detection", disconnected)
                .took("replacement", replaced)
                .took("convergence", back.elapsed())
                .configured("report", REPORT)
                .configured("lease", LEASE)
                .configured("replace_after", REPLACE_AFTER)
                .print();
            for ((policy, before), instead) in POLICIES.into_iter().zip(&before).zip(&instead) {
                let without = if policy == "keep-replacement" {
                    "a1"
                } else {
                    ""
                };
                let now = running(bed, policy, without).await?;
                if policy == "keep-replacement" {
                    let ids = |all: &[Instance]| -> BTreeSet<String> {
                        all.iter().map(|i| i.id.clone()).collect()
                    };
                    ensure!(ids(&now) == ids(instead), "{policy}: {now:?}");
                } else {
                    ensure!(on(&now, "a1") == *before, "{policy}: {now:?}");
                }
            }
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}

#[tokio::test]
async fn with_nobody_heard_nothing_is_replaced_and_an_operator_has_the_last_word() -> Result<()> {
    bed("unproven")
        .expect("broker lost, jobs run on", "the broker was killed")
        .expect("broker not reached", "the broker was killed")
        .expect("the broker is not reached", "the broker was killed")
        .expect("authentication error", "a fenced worker's pass is void")
        .expect("was not told who is revoked", "the broker was killed")
        .run(async |bed| {
            let root = bed.root();
            root.apply(&app("shop", [bed.mark(service("keep-original"))]))
                .await?;
            running(bed, "keep-original", "").await?;
            jobs(bed, 3).await?;
            let before = bed.jobs();
            let mut workers = bed.cluster("a")?.workers();
            let named = |name: &str| ReleaseRequest {
                worker: name.to_owned(),
                request_id: String::new(),
            };
            let refused = workers.release(named("a1")).await.err();
            let refused = refused.context("a worker that is heard was released")?;
            ensure!(refused.message().contains("is heard"), "{refused:?}");

            bed.kill("nats-a").await?;
            let killed = Instant::now();
            for name in ["a1", "a2", "a3"] {
                worker(bed, name, WorkerState::Disconnected, Replacement::Unproven).await?;
            }
            let detected = killed.elapsed();
            ensure!(bed.jobs() == before, "something was stopped or started");
            workers.release(named("a1")).await.context("release a1")?;
            worker(bed, "a1", WorkerState::Disconnected, Replacement::Released).await?;
            let fence = FenceRequest {
                worker: "a2".to_owned(),
                request_id: String::new(),
            };
            let fenced = workers.fence(fence).await.context("fence a2")?.into_inner();
            ensure!(fenced.given_up == 1, "{fenced:?}");
            worker(bed, "a2", WorkerState::Lost, Replacement::Fenced).await?;
            ensure!(bed.jobs() == before, "without a place nothing is stopped");

            bed.start("nats-a").await?;
            let back = Instant::now();
            for name in ["a1", "a2", "a3"] {
                worker(bed, name, WorkerState::Ready, Replacement::Unspecified).await?;
            }
            running(bed, "keep-original", "").await?;
            jobs(bed, 3).await?;
            Figure::of("all-workers-silent")
                .took("detection", detected)
                .took("convergence", back.elapsed())
                .configured("report", REPORT)
                .configured("lease", LEASE)
                .print();
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}
