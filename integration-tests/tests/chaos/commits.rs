//! `kill -9` in the middle of commits: a root's, then a cluster's, while users write as fast as they are answered. The database
//! opens again whole each time, and what was acknowledged is in it.

use std::{
    cell::Cell,
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Figure, Testbed, Tier, diary::Diary, eventually_within, tier::sketch,
};
use edgeio_proto::api::v1::ApplicationPhase;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sea_orm::{ConnectionTrait as _, Database, DatabaseBackend, Statement};

use crate::{
    calm::BACK,
    count,
    load::{User, Wish},
    say, seed,
    seen::{Seen, nothing_else, runs},
};

fn bed(name: &str) -> Testbed {
    Testbed::new(name)
        .cluster("a")
        .worker_with("a1", &["--docker=off"])
        .worker_with("a2", &["--docker=off"])
        .expect("root is away", "the root is killed")
        .expect("detached from the cluster", "the cluster is killed")
        .expect("cannot attach to the cluster", "the cluster is killed")
        .expect(
            "did not take what was left",
            "the cluster is killed while a bridge has something for it",
        )
}

#[tokio::test]
async fn a_root_that_is_killed_in_mid_commit_keeps_what_it_acknowledged() -> Result<()> {
    let (seed, kills) = (seed(), count("COMMITS", 20));
    say("commits", format!("root: seed {seed}, {kills} kills"));
    let told =
        bed("rootcommits").run(async |bed| story(bed, "root", bed.root(), seed, kills).await);
    told.await
        .with_context(|| format!("EDGEIO_CHAOS_SEED={seed}"))
}

#[tokio::test]
async fn a_cluster_that_is_killed_in_mid_commit_keeps_what_it_acknowledged() -> Result<()> {
    let (seed, kills) = (seed(), count("COMMITS", 20));
    say("commits", format!("cluster: seed {seed}, {kills} kills"));
    let told = bed("clustercommits")
        .run(async |bed| story(bed, "cluster-a", bed.cluster("a")?, seed, kills).await);
    told.await
        .with_context(|| format!("EDGEIO_CHAOS_SEED={seed}"))
}

async fn story(bed: &Bed, victim: &str, tier: &Tier, seed: u64, kills: u64) -> Result<()> {
    let mut dice = StdRng::seed_from_u64(seed);
    let user = |name| User::hasty(name, tier, StdRng::from_rng(&mut dice));
    let mut users = ["ann", "bob", "cid"].map(user);
    let asking = users.each_ref().map(|u| u.asking.clone());
    let enough = Cell::new(false);
    let [ann, bob, cid] = &mut users;
    let (under_way, ..) = futures::try_join!(
        async {
            let mut under_way = 0;
            for _ in 0..kills {
                // At any moment of a write; nothing is waited for.
                let pause = Duration::from_millis(dice.random_range(30..400));
                tokio::time::sleep(pause).await;
                bed.kill(victim).await?;
                under_way += u32::from(asking.iter().any(|asking| asking.get()));
                whole(bed, victim).await?;
                bed.start(victim).await?;
            }
            enough.set(true);
            Ok(under_way)
        },
        ann.work(bed, &enough),
        bob.work(bed, &enough),
        cid.work(bed, &enough),
    )?;
    // Once more, with nobody writing: what is there now is what the file holds.
    bed.kill(victim).await?;
    whole(bed, victim).await?;
    bed.start(victim).await?;
    let wishes: BTreeMap<String, Wish> = users.iter().flat_map(|u| u.wishes.clone()).collect();
    for (name, wish) in &wishes {
        let found = tier.get(name).await?;
        let found = found.with_context(|| format!("{name} was acknowledged and is lost"))?;
        let service = found.spec.and_then(|spec| spec.services.into_iter().next());
        let service = service.context("an application without a service")?;
        ensure!(
            service.replicas == Some(wish.replicas) && service.env.get("WORD") == Some(&wish.word),
            "{name} was acknowledged as {wish:?} and is {service:?}"
        );
    }
    for name in users.iter().flat_map(|u| &u.deleted) {
        let back = tier.get(name).await?.and_then(|found| found.status);
        ensure!(
            back.as_ref()
                .is_none_or(|status| status.phase() == ApplicationPhase::Deleting),
            "{name} was deleted and is {back:?}"
        );
    }

    let from = Instant::now();
    let seen = eventually_within(BACK, "what was acknowledged runs", async || {
        let all = tier.instances("").await?;
        let wanted: u32 = wishes.values().map(|w| w.replicas).sum();
        ensure!(
            all.len() == wanted as usize && all.iter().all(runs),
            "{wanted} should run: {}",
            sketch(&all)
        );
        let seen = Seen::of(bed, &all).await?;
        nothing_else(bed, &seen).await?;
        Ok(seen)
    })
    .await?;
    let account = Diary::of(bed).account()?;
    ensure!(account.faults.is_empty(), "{:#?}", account.faults);
    let sum = |of: fn(&User) -> u32| users.iter().map(of).sum::<u32>();
    Figure::of(&format!("killed-in-commit-{}", victim.replace("-a", "")))
        .took("convergence", from.elapsed())
        .print();
    say(
        "commits",
        format!(
            "{victim}: {kills} kills, {under_way} with a request under way; {} changes acknowledged, {} old requests repeated, \
             {} applications left; {} jobs of {} run {:.1} s later",
            sum(|u| u.acknowledged),
            sum(|u| u.repeated),
            wishes.len(),
            seen.jobs.len(),
            account.starts,
            from.elapsed().as_secs_f64()
        ),
    );
    for name in wishes.keys() {
        tier.delete(name).await?;
    }
    for name in wishes.keys() {
        tier.gone(name).await?;
    }
    Ok(())
}

/// Checks the database of a tier that is down, on a copy.
async fn whole(bed: &Bed, victim: &str) -> Result<()> {
    let copy = bed.dir().join("copy");
    keep(&bed.data(victim), &copy)?;
    let name = if victim == "root" {
        "root.db"
    } else {
        "cluster.db"
    };
    let address = format!("sqlite://{}?mode=rw", copy.join(name).display());
    let database = Database::connect(address).await.context("open the copy")?;
    let question = Statement::from_string(DatabaseBackend::Sqlite, "PRAGMA integrity_check");
    let answer = database.query_one_raw(question).await?;
    let answer: String = answer.context("no answer")?.try_get_by_index(0)?;
    database.close().await?;
    ensure!(
        answer == "ok",
        "the database of {victim} is damaged: {answer}"
    );
    std::fs::remove_dir_all(&copy).context("remove the copy")
}

/// Copies the files of a data directory; those of a process that is down.
pub(crate) fn keep(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).context("make a place for the copy")?;
    for entry in std::fs::read_dir(from).context("list what is copied")? {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().context("a file has a name")?;
            std::fs::copy(&path, to.join(name))
                .with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}
