//! An application that nobody touches while the world around it breaks: it must not notice. And a second one that is scaled, to
//! show that wishes still arrive.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed,
    diary::Diary,
    eventually, eventually_within,
    manifest::{app, container},
    tier::sketch,
};
use edgeio_proto::{api::v1::Instance, cluster::v1::WorkerState, root::v1::ChildState};

use crate::seen::{Seen, runs};

/// How long everything may take to be as before. The longest pause between two dials is 30 s, and two may follow each other.
pub(crate) const BACK: Duration = Duration::from_secs(120);
/// Between two looks that find nothing: short against the times of a bed.
const LOOK: Duration = Duration::from_millis(100);

/// What runs untouched.
pub(crate) struct Calm {
    diary: Diary,
    instances: Vec<Instance>,
    seen: Seen,
    /// Replicas of the application that is scaled.
    moving: Cell<u32>,
}

impl Calm {
    /// Applies both applications and waits until they run.
    pub(crate) async fn begin(bed: &Bed, jobs: u32, containers: u32) -> Result<Self> {
        let (root, diary) = (bed.root(), Diary::of(bed));
        let mut services = vec![diary.keeper(bed, "job", jobs, "w0")];
        if containers > 0 {
            services.push(container("web", containers, &bed.image().await?));
        }
        root.apply(&app("still", services)).await?;
        let mut instances = Vec::new();
        for (service, replicas) in [("job", jobs), ("web", containers)] {
            let running = root.running("still", service, replicas as usize).await?;
            instances.extend(running.into_values());
        }
        let moving = diary.keeper(bed, "job", 1, "w0");
        root.apply(&app("moving", [moving])).await?;
        root.running("moving", "job", 1).await?;
        let seen = eventually("what was applied runs", async || {
            Seen::of(bed, &instances).await
        })
        .await?;
        Ok(Self {
            diary,
            instances,
            seen,
            moving: Cell::new(1),
        })
    }

    /// Whether nothing was touched: the same processes and containers, and no job that began beside them.
    pub(crate) async fn holds(&self, bed: &Bed) -> Result<()> {
        Seen::all(bed).await?.holds(&self.seen)?;
        let account = self.diary.account()?;
        ensure!(account.faults.is_empty(), "{:#?}", account.faults);
        let still = account.open.iter();
        let runs = still
            .filter(|(replica, _)| replica.application == "still")
            .count();
        ensure!(runs == self.seen.jobs.len(), "{:#?}", account.open);
        Ok(())
    }

    /// Looks on for a while: a fault that lasts.
    pub(crate) async fn lasts(&self, bed: &Bed, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.holds(bed).await?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Wishes one replica more of the other application; waits for nothing. Never one less: a replica that cannot be told to
    /// end does not keep the next one of its number from starting, and the diary could not tell the two apart.
    pub(crate) async fn wish(&self, bed: &Bed) -> Result<()> {
        let replicas = self.moving.get() + 1;
        bed.root().scale("moving", "job", replicas).await?;
        self.moving.set(replicas);
        Ok(())
    }

    /// Waits until all is as before, and what was wished runs, by all accounts; tells how long it took. What a tier says just
    /// after a fault may be what it remembers, so one thing more is wished: when that is done, everybody is awake.
    pub(crate) async fn back(&self, bed: &Bed) -> Result<Duration> {
        let from = Instant::now();
        self.wish(bed).await?;
        let ids = |all: &[Instance]| {
            let mut ids: Vec<String> = all.iter().map(|i| i.id.clone()).collect();
            ids.sort_unstable();
            ids
        };
        eventually_within(BACK, "all is as before", async || {
            ready(bed).await?;
            let all = bed.root().instances("").await?;
            ensure!(all.iter().all(runs), "{}", sketch(&all));
            let of = |app: &str| -> Vec<Instance> {
                let of = all.iter().filter(|i| i.application == app);
                of.cloned().collect()
            };
            let (still, moving) = (of("still"), of("moving"));
            ensure!(ids(&still) == ids(&self.instances), "{}", sketch(&still));
            ensure!(
                moving.len() == self.moving.get() as usize,
                "{} were wished: {}",
                self.moving.get(),
                sketch(&moving)
            );
            let now = Seen::of(bed, &all).await?;
            ensure!(now == Seen::all(bed).await?, "more runs than is said");
            Ok(())
        })
        .await?;
        let took = from.elapsed();
        self.holds(bed).await?;
        bed.root().scale("moving", "job", 1).await?;
        self.moving.set(1);
        eventually("what is too many has ended", async || {
            let open = self.diary.account()?.open;
            let moving = open.keys().filter(|r| r.application == "moving");
            ensure!(moving.count() == 1, "{open:#?}");
            Ok(())
        })
        .await?;
        Ok(took)
    }

    /// Deletes both, and waits until they are gone.
    pub(crate) async fn end(self, bed: &Bed) -> Result<()> {
        for app in ["still", "moving"] {
            bed.root().delete(app).await?;
        }
        for app in ["still", "moving"] {
            bed.root().gone(app).await?;
        }
        let account = self.diary.account().context("read the diary")?;
        ensure!(
            account.faults.is_empty() && account.open.is_empty(),
            "{account:#?}"
        );
        Ok(())
    }
}

/// Whether every child is Ready at its parent.
async fn ready(bed: &Bed) -> Result<()> {
    let clusters = bed.root().list_clusters().await?;
    for name in bed.homes().values() {
        let cluster = clusters.iter().find(|c| c.name == *name);
        let cluster = cluster.with_context(|| format!("cluster {name} is not registered"))?;
        ensure!(cluster.state() == ChildState::Ready, "{cluster:?}");
    }
    for (name, home) in bed.homes() {
        let workers = bed.cluster(home)?.list_workers().await?;
        let worker = workers.iter().find(|w| w.name == *name);
        let worker = worker.with_context(|| format!("worker {name} is not registered"))?;
        ensure!(
            worker.state() == WorkerState::Ready,
            "{name} is {:?}",
            worker.state()
        );
    }
    Ok(())
}

/// Times as people read them.
pub(crate) fn seconds(times: &[Duration]) -> String {
    let each: Vec<String> = times
        .iter()
        .map(|t| format!("{:.1}", t.as_secs_f64()))
        .collect();
    format!("{} s", each.join(" "))
}
