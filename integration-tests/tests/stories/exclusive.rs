//! Exclusive services on real processes: whatever keeps a worker from being heard, the one that it runs ends before the
//! substitute begins, and there is no twin when it is heard again.
//!
//! The job proves it: it writes the time of CLOCK_BOOTTIME many times a second into a file for as long as it lives, so its
//! intervals are known even if it is killed. Of containers the engine's own events tell.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Figure, Testbed, Way, eventually,
    manifest::{app, container, script},
    tier::sketch,
};
use edgeio_proto::{
    api::v1::{DisconnectSpec, Instance, InstancePhase, Reachability, ServiceSpec},
    cluster::v1::WorkerState,
};

const REPORT: Duration = Duration::from_millis(500);
const LEASE: Duration = Duration::from_secs(3);
/// The shortest there is.
const STOP_AFTER: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(1);
const REPLACE_AFTER: Duration = Duration::from_secs(7);

/// Each of three workers may be replaced in one minute.
const REPLACE: [&str; 3] = [
    "--replace-after=7s",
    "--replace-rate=100",
    "--lost-after=1h",
];

fn exclusive(service: ServiceSpec) -> ServiceSpec {
    let disconnect = DisconnectSpec {
        mode: "exclusive".to_owned(),
        stop_after: format!("{}s", STOP_AFTER.as_secs()),
        ..DisconnectSpec::default()
    };
    ServiceSpec {
        disconnect: Some(disconnect),
        stop_grace: format!("{}s", GRACE.as_secs()),
        ..service
    }
}

/// What the jobs of a bed write while they live.
struct Beats(PathBuf);

/// One run as its job tells it: instance, first and last beat in hundredths of a second since the boot.
#[derive(Debug, Clone)]
struct Run {
    instance: String,
    first: u64,
    last: u64,
}

impl Beats {
    fn of(bed: &Bed) -> Self {
        Self(bed.dir().join("beats"))
    }

    /// A job that beats ten times a second and cares for no request to end: only a kill ends it.
    fn job(&self, bed: &Bed) -> ServiceSpec {
        let text = format!(
            "trap '' TERM; while :; do read up rest </proc/uptime; echo \"$EDGEIO_INSTANCE $up\" >>{}; sleep 0.1; done",
            self.0.display()
        );
        exclusive(bed.mark(script("db", 1, &text)))
    }

    /// The runs in their order. Two of different instances that overlap, or take turns, are an error.
    fn runs(&self) -> Result<Vec<Run>> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut runs: Vec<Run> = Vec::new();
        for line in whole.lines() {
            let (instance, at) = line.split_once(' ').context("a line of two words")?;
            let at: u64 = at.replace('.', "").parse().context("a time")?;
            match runs.last_mut() {
                Some(run) if run.instance == instance => run.last = at,
                before => {
                    if let Some(before) = before {
                        ensure!(before.last <= at, "{before:?} overlaps {line}");
                    }
                    let known = runs.iter().find(|run| run.instance == instance);
                    ensure!(known.is_none(), "two at a time: {known:?} and {runs:?}");
                    let instance = instance.to_owned();
                    let (first, last) = (at, at);
                    runs.push(Run {
                        instance,
                        first,
                        last,
                    });
                }
            }
        }
        Ok(runs)
    }
}

/// Hundredths of a second since the boot, as the jobs read them.
fn uptime() -> Result<u64> {
    let text = fs::read_to_string("/proc/uptime").context("read the time since the boot")?;
    let up = text.split(' ').next().context("a first word")?;
    up.replace('.', "").parse().context("a time")
}

fn span(from: u64, to: u64) -> Duration {
    Duration::from_millis(to.saturating_sub(from) * 10)
}

/// Waits until the one instance of a service that is heard runs there.
async fn runs_on(bed: &Bed, service: &str, there: impl Fn(&str) -> bool) -> Result<Instance> {
    eventually(&format!("{service} runs where it should"), async || {
        let all = bed.cluster("a")?.instances("shop").await?;
        let mut heard = all.iter().filter(|i| {
            i.service == service
                && i.reachability() == Reachability::Reachable
                && i.phase() == InstancePhase::Running
                && !i.retiring
        });
        let one = heard.next().cloned();
        ensure!(heard.next().is_none(), "two: {}", sketch(&all));
        let one = one.with_context(|| sketch(&all))?;
        ensure!(there(&one.worker), "{}", sketch(&all));
        Ok(one)
    })
    .await
}

async fn state(bed: &Bed, name: &str, wanted: WorkerState) -> Result<()> {
    eventually(&format!("{name} is {wanted:?}"), async || {
        let all = bed.cluster("a")?.list_workers().await?;
        let found = all.iter().find(|w| w.name == name);
        let found = found.with_context(|| format!("no {name}"))?;
        ensure!(found.state() == wanted, "{found:?}");
        Ok(())
    })
    .await
}

/// The instances of a service and the processes and containers of the bed, once there is exactly one that runs.
async fn only_one(bed: &Bed, service: &str, instance: &Instance) -> Result<()> {
    eventually(&format!("{service} has no twin"), async || {
        for tier in [bed.root(), bed.cluster("a")?] {
            let all = tier.instances("shop").await?;
            let all: Vec<_> = all.into_iter().filter(|i| i.service == service).collect();
            ensure!(all.len() == 1, "{}", sketch(&all));
        }
        let seen = bed.cluster("a")?.instances("shop").await?;
        ensure!(
            seen.iter().any(|i| i.id == instance.id),
            "{}",
            sketch(&seen)
        );
        if service == "db" {
            let jobs = bed.jobs().into_iter();
            let shells: Vec<_> = jobs.filter(|j| j.command.starts_with("/bin/sh")).collect();
            ensure!(shells.len() == 1, "{shells:?}");
            ensure!(shells[0].handle() == instance.handle, "{shells:?}");
        } else {
            let all = bed.containers().await?;
            ensure!(all.keys().eq([&instance.id]), "{all:?}");
        }
        Ok(())
    })
    .await
}

/// How a worker gets out of hearing.
#[derive(Debug, Clone, Copy)]
enum Silence {
    /// Its link loses everything: it lives, and ends its job itself.
    Cut,
    /// `kill -9` of the agent, which stays away: its shim ends the job.
    Killed,
    /// The agent stands still: as above.
    Frozen,
}

impl Silence {
    async fn begin(self, bed: &Bed, worker: &str) -> Result<()> {
        match self {
            Self::Cut => bed.link(worker)?.cut(Way::Both, None),
            Self::Killed => bed.kill(worker).await,
            Self::Frozen => bed.freeze(worker),
        }
    }

    async fn end(self, bed: &Bed, worker: &str) -> Result<()> {
        match self {
            Self::Cut => bed.link(worker)?.heal(),
            Self::Killed => bed.start(worker).await,
            Self::Frozen => bed.thaw(worker),
        }
    }
}

/// A silence of the worker that runs the job, until a substitute runs on another one, and its end.
async fn silence(bed: &Bed, beats: &Beats, how: Silence) -> Result<()> {
    let before = runs_on(bed, "db", |_| true).await?;
    let from = before.worker.as_str();
    let begin = uptime()?;
    how.begin(bed, from).await?;
    state(bed, from, WorkerState::Disconnected).await?;
    let noticed = uptime()?;
    let after = runs_on(bed, "db", |worker| worker != from).await?;
    ensure!(after.id != before.id, "a substitute is another instance");
    let runs = beats.runs()?;
    let [.., original, substitute] = &runs[..] else {
        anyhow::bail!("no two runs: {runs:?}");
    };
    ensure!(
        (&original.instance, &substitute.instance) == (&before.id, &after.id),
        "{runs:?}"
    );
    ensure!(original.last < substitute.first, "{runs:?}");
    let healed = uptime()?;
    how.end(bed, from).await?;
    state(bed, from, WorkerState::Ready).await?;
    only_one(bed, "db", &after).await?;
    Figure::of(&format!("exclusive-worker-{how:?}").to_lowercase())
        .took("detection", span(begin, noticed))
        .took("stop", span(begin, original.last))
        .took("replacement", span(begin, substitute.first))
        .took("convergence", span(healed, uptime()?))
        .configured("lease", LEASE)
        .configured("stop_after", STOP_AFTER)
        .configured("grace", GRACE)
        .configured("replace_after", REPLACE_AFTER)
        .print();
    Ok(())
}

fn bed(name: &str) -> Testbed {
    Testbed::new(name)
        .times(REPORT, LEASE)
        .apart("a1")
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .later()
        .worker("a3")
        .later()
        .tier_with("cluster-a", &REPLACE)
        .expect("broker lost, jobs run on", "the worker's link is cut")
}

#[tokio::test]
async fn the_original_has_ended_before_the_substitute_begins_however_its_worker_falls_silent()
-> Result<()> {
    bed("exclusive")
        .run(async |bed| {
            let (root, beats) = (bed.root(), Beats::of(bed));
            root.apply(&app("shop", [beats.job(bed)])).await?;
            runs_on(bed, "db", |worker| worker == "a1").await?;
            for more in ["a2", "a3"] {
                bed.start(more).await?;
            }
            bed.ready(&["a1", "a2", "a3"]).await?;
            // The first has a link to be cut, and runs the job.
            for how in [Silence::Cut, Silence::Killed, Silence::Frozen] {
                silence(bed, &beats, how)
                    .await
                    .with_context(|| format!("{how:?}"))?;
            }
            root.delete("shop").await?;
            root.gone("shop").await?;
            let runs = beats.runs()?;
            ensure!(runs.len() == 4, "{runs:?}");
            Ok(())
        })
        .await
}

/// Nobody is heard through a bridge that stands still: nothing may be replaced, and what is exclusive ends all the same. When
/// the bridge goes on it starts again where it was, as the same instance.
#[tokio::test]
async fn without_a_word_it_ends_and_starts_again_where_it_was_when_nothing_replaced_it()
-> Result<()> {
    bed("unheard")
        .expect("detached from the cluster", "the bridge stands still")
        .run(async |bed| {
            let (root, beats) = (bed.root(), Beats::of(bed));
            root.apply(&app("shop", [beats.job(bed)])).await?;
            let before = runs_on(bed, "db", |worker| worker == "a1").await?;
            bed.start("a2").await?;
            bed.ready(&["a1", "a2"]).await?;
            let begin = uptime()?;
            bed.freeze("bridge-a")?;
            state(bed, "a1", WorkerState::Disconnected).await?;
            let ended = eventually("the job has ended itself", async || {
                let jobs = bed.jobs();
                ensure!(jobs.is_empty(), "{jobs:?}");
                let runs = beats.runs()?;
                Ok(runs.last().context("no run")?.last)
            })
            .await?;
            // Longer than any substitute would take that evidence allowed.
            let long = begin + u64::try_from(3 * REPLACE_AFTER.as_millis() / 10).unwrap_or(0);
            eventually("the silence lasts", async || {
                ensure!(uptime()? > long, "not yet");
                Ok(())
            })
            .await?;
            ensure!(bed.jobs().is_empty(), "{:?}", bed.jobs());
            let healed = uptime()?;
            bed.thaw("bridge-a")?;
            let after = runs_on(bed, "db", |worker| worker == "a1").await?;
            ensure!(after.id == before.id, "{before:?} {after:?}");
            only_one(bed, "db", &after).await?;
            let runs = beats.runs()?;
            ensure!(runs.len() == 1, "{runs:?}");
            Figure::of("exclusive-bridge-frozen")
                .took("stop", span(begin, ended))
                .took("convergence", span(healed, uptime()?))
                .configured("lease", LEASE)
                .configured("stop_after", STOP_AFTER)
                .configured("grace", GRACE)
                .print();
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}

/// A container has no keeper but the agent: it lives here, and cannot be heard.
#[tokio::test]
async fn a_container_ends_before_its_substitute_begins() -> Result<()> {
    bed("exclusivebox")
        .run(async |bed| {
            let (root, since) = (bed.root(), SystemTime::now());
            let web = exclusive(container("web", 1, &bed.image().await?));
            root.apply(&app("shop", [web])).await?;
            runs_on(bed, "web", |worker| worker == "a1").await?;
            bed.start("a2").await?;
            bed.ready(&["a1", "a2"]).await?;
            let begin = uptime()?;
            bed.link("a1")?.cut(Way::Both, None)?;
            let after = runs_on(bed, "web", |worker| worker == "a2").await?;
            let replaced = uptime()?;
            bed.link("a1")?.heal()?;
            state(bed, "a1", WorkerState::Ready).await?;
            only_one(bed, "web", &after).await?;

            // By the engine's clock: no container began before the one before it had ended.
            let mut all = BTreeMap::new();
            for name in ["a1", "a2"] {
                let told = bed.engine().timeline(&bed.worker_id(name)?, since).await?;
                all.extend(told);
            }
            let of = |action: &str| -> Vec<i64> {
                let named = all.iter().filter(|(_, event)| event.starts_with(action));
                named.map(|(at, _)| *at).collect()
            };
            let (starts, ends) = (of("start "), of("die "));
            ensure!(starts.len() == 2 && ends.len() == 1, "{all:?}");
            ensure!(starts[0] < ends[0] && ends[0] < starts[1], "{all:?}");
            let after = u64::try_from(starts[1] - ends[0]).unwrap_or(0);
            Figure::of("exclusive-container-cut")
                .took("replacement", span(begin, replaced))
                .took("between", Duration::from_nanos(after))
                .configured("lease", LEASE)
                .configured("stop_after", STOP_AFTER)
                .configured("replace_after", REPLACE_AFTER)
                .print();
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}
