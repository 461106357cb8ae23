//! `kill -9` of whatever comes, under load: root, clusters, bridges, brokers, workers, one or several at a time. What was
//! acknowledged is there in the end, exactly; what was deleted has left nothing; no replica ever ran twice at a time; and
//! what nobody touched has not noticed.

use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Figure, Testbed,
    diary::Diary,
    eventually_within,
    manifest::{app, container},
    tier::sketch,
};
use edgeio_proto::api::v1::Instance;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    count, load,
    load::{User, Wish},
    say, seed,
    seen::{Seen, nothing_else, runs},
};

const WORKERS: [&str; 5] = ["a1", "a2", "a3", "b1", "b2"];
/// How long convergence may take. A process that was alone for long dials again after 30 s at most, cluster after worker.
const CONVERGED: Duration = Duration::from_secs(120);

fn bed(name: &str) -> Testbed {
    Testbed::new(name)
        .cluster("a")
        .bridge("bridge-a2")
        .worker("a1")
        .worker_with("a2", &["--docker=off"])
        .worker_with("a3", &["--docker=off"])
        .cluster("b")
        .worker_with("b1", &["--docker=off"])
        .worker_with("b2", &["--docker=off"])
        .expect("root is away", "the root is killed")
        .expect("detached from the cluster", "clusters are killed")
        .expect("cannot attach to the cluster", "clusters are killed")
        .expect("broker lost, jobs run on", "brokers are killed")
        .expect("broker not reached", "brokers are killed")
        .expect("the broker is not reached", "brokers are killed")
        .expect(
            "cannot tell a worker",
            "brokers are killed while a cluster speaks",
        )
        .expect(
            "registration failed",
            "clusters are killed while a worker starts",
        )
        .expect(
            "the last write of the ledger was interrupted",
            "workers are killed while they write",
        )
        .expect(
            "did not take what was left",
            "clusters are killed while a bridge has something for them",
        )
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_runs_twice_whatever_is_killed() -> Result<()> {
    let (seed, kills) = (seed(), count("KILLS", 30));
    say("kills", format!("seed {seed}, {kills} kills"));
    let told = bed("kills").run(async |bed| story(bed, seed, kills).await);
    told.await
        .with_context(|| format!("EDGEIO_CHAOS_SEED={seed}"))
}

async fn story(bed: &Bed, seed: u64, kills: u64) -> Result<()> {
    let root = bed.root();
    let diary = Diary::of(bed);
    let image = bed.image().await?;
    let services = [
        diary.keeper(bed, "job", 4, "w0"),
        container("web", 2, &image),
    ];
    root.apply(&app("still", services)).await?;
    let job = root.running("still", "job", 4).await?;
    let web = root.running("still", "web", 2).await?;
    let untouched: Vec<Instance> = job.into_values().chain(web.into_values()).collect();
    let still = eventually_within(CONVERGED, "what nobody will touch runs", async || {
        Seen::of(bed, &untouched).await
    })
    .await?;

    let mut dice = StdRng::seed_from_u64(seed);
    let user = |name| User::new(name, root, StdRng::from_rng(&mut dice), &image);
    let [mut ann, mut bob, mut cid] = ["ann", "bob", "cid"].map(user);
    let enough = Cell::new(false);
    let (killed, ..) = futures::try_join!(
        async {
            let killed = kill(bed, &mut dice, kills).await;
            enough.set(true);
            killed
        },
        ann.work(bed, &enough),
        bob.work(bed, &enough),
        cid.work(bed, &enough),
    )?;

    let healed = Instant::now();
    let users = [ann, bob, cid];
    let wishes: BTreeMap<String, Wish> = users.iter().flat_map(|u| u.wishes.clone()).collect();
    let seen = eventually_within(CONVERGED, "all is as it was acknowledged", async || {
        converged(bed, &wishes).await
    })
    .await?;
    let took = healed.elapsed();
    seen.holds(&still)?;
    bed.ready(&WORKERS).await?;

    let account = diary.account()?;
    ensure!(account.faults.is_empty(), "{:#?}", account.faults);
    let alive: Vec<u32> = seen.jobs.iter().map(|job| job.pid).collect();
    for run in account.open.values().flatten() {
        ensure!(alive.contains(&run.pid), "vanished: {run:?}");
        let word = wishes
            .get(&run.replica.application)
            .map(|w| w.word.as_str());
        ensure!(word.unwrap_or("w0") == run.word, "not {word:?}: {run:?}");
    }
    for name in users.iter().flat_map(|u| &u.deleted) {
        ensure!(root.get(name).await?.is_none(), "{name} is back");
    }
    let sum = |of: fn(&User) -> u32| users.iter().map(of).sum::<u32>();
    Figure::of("kills").took("convergence", took).print();
    say(
        "kills",
        format!(
            "killed {killed:?}; {} changes acknowledged, {} old requests repeated, {} jobs begun, {} applications deleted, \
             {} left; converged {:.1} s after the last start",
            sum(|u| u.acknowledged),
            sum(|u| u.repeated),
            account.starts,
            users.iter().map(|u| u.deleted.len()).sum::<usize>(),
            wishes.len(),
            took.as_secs_f64()
        ),
    );

    let left = wishes.keys().map(String::as_str);
    for name in left.clone().chain(["still"]) {
        root.delete(name).await?;
    }
    for name in left.chain(["still"]) {
        root.gone(name).await?;
    }
    let account = diary.account()?;
    ensure!(account.faults.is_empty(), "{:#?}", account.faults);
    ensure!(
        account.open.is_empty(),
        "killed, not stopped: {:?}",
        account.open
    );
    let nothing = Seen::of(bed, &[]).await?;
    eventually_within(CONVERGED, "nothing is left behind", async || {
        nothing_else(bed, &nothing).await
    })
    .await
}

/// Kills so many times, starts again what is down, and tells how often each was hit.
async fn kill(bed: &Bed, dice: &mut StdRng, kills: u64) -> Result<BTreeMap<String, u32>> {
    let names: Vec<&str> = bed.programs().iter().map(|p| p.name()).collect();
    let mut down: BTreeMap<&str, Instant> = BTreeMap::new();
    let mut hit: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..kills {
        // The rhythm of the faults; nothing is waited for.
        let pause = Duration::from_millis(dice.random_range(300..2000));
        let next = Instant::now() + pause;
        while let Some(due) = down.values().min().copied().filter(|due| *due < next) {
            tokio::time::sleep_until(due.into()).await;
            start(bed, &mut down, due).await?;
        }
        tokio::time::sleep_until(next.into()).await;
        let up: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| !down.contains_key(name))
            .collect();
        let victim = *up.choose(dice).context("everything is down")?;
        bed.kill(victim).await?;
        *hit.entry(victim.to_owned()).or_default() += 1;
        // Half of them come back at once, as under a supervisor; others leave the rest alone for a while.
        let away = if dice.random_bool(0.5) {
            0
        } else {
            dice.random_range(200..5000)
        };
        down.insert(victim, Instant::now() + Duration::from_millis(away));
    }
    let last = down.values().max().copied();
    if let Some(last) = last {
        start(bed, &mut down, last).await?;
    }
    Ok(hit)
}

/// Starts what is due.
async fn start(bed: &Bed, down: &mut BTreeMap<&str, Instant>, until: Instant) -> Result<()> {
    let due: Vec<&str> = down
        .iter()
        .filter(|(_, at)| **at <= until)
        .map(|(name, _)| *name)
        .collect();
    for name in due {
        down.remove(name);
        bed.start(name).await?;
    }
    Ok(())
}

/// Whether everything is as it was acknowledged, at the root and on the machine.
async fn converged(bed: &Bed, wishes: &BTreeMap<String, Wish>) -> Result<Seen> {
    let all = bed.root().instances("").await?;
    let mut expected = 6;
    for (name, wish) in wishes {
        let of: Vec<Instance> = all
            .iter()
            .filter(|i| i.application == *name)
            .cloned()
            .collect();
        ensure!(
            of.len() == wish.replicas as usize
                && of.iter().all(|i| i.service == load::SERVICE && runs(i)),
            "{name} is to be {wish:?}: {}",
            sketch(&of)
        );
        expected += of.len();
    }
    if all.len() != expected || !all.iter().all(runs) {
        bail!("{expected} should run: {}", sketch(&all));
    }
    let seen = Seen::of(bed, &all).await?;
    nothing_else(bed, &seen).await?;
    Ok(seen)
}
