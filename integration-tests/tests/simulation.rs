//! The simulator: schedules of every profile, seeds that once found something, determinism, the fault-free end, and the
//! planted bugs that prove its strength. `edgeio-sim --help` runs others, and replays one that failed.

use std::num::NonZero;

use edgeio_domain::plant::Plant;
use edgeio_integration_tests::sim::{self, Profile, Sweep, explained, plants};

/// Schedules of one run, in equal shares of the profiles, of some 2,300 events each: two to three minutes on two processors.
/// Deeper runs are `edgeio-sim --seeds A..B`.
const SCHEDULES: u64 = 10_000;
/// Schedules that are run twice.
const TWICE: u64 = 100;
/// Schedules whose end is compared with that of the same wishes when nothing breaks.
const COMPARED: u64 = 60;

fn sweep(seeds: std::ops::Range<u64>, profile: Option<Profile>, plant: Option<Plant>) -> Sweep {
    Sweep {
        seeds,
        profile,
        plant,
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        most: 1,
    }
}

/// Runs seeds that must all hold.
fn holds(sweep: &Sweep) -> anyhow::Result<sim::Totals> {
    let totals = sweep.run(&|_| {});
    if let Some(violation) = totals.violations.first() {
        let replay = sweep.replay(violation);
        anyhow::bail!("{}\nreplay: {replay}", explained(violation.clone(), None));
    }
    Ok(totals)
}

#[test]
fn schedules_of_all_profiles_keep_the_invariants() -> anyhow::Result<()> {
    let totals = holds(&sweep(0..SCHEDULES, None, None))?;
    println!(
        "{} schedules, {} events, {:.0} s",
        totals.schedules,
        totals.events,
        totals.time.as_secs_f64()
    );
    Ok(())
}

#[test]
fn fault_free_schedules_converge() -> anyhow::Result<()> {
    holds(&sweep(0..30, Some(Profile::FaultFree), None))?;
    Ok(())
}

/// Seeds that once found something: profile, seed, what it was.
#[test]
fn seeds_that_found_something_hold() -> anyhow::Result<()> {
    let mut count = 0;
    for line in include_str!("seeds/simulation.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let profile = words.next().and_then(Profile::from_name);
        let seed = words.next().and_then(|word| word.parse().ok());
        let (Some(profile), Some(seed)) = (profile, seed) else {
            anyhow::bail!("not `profile seed what`: {line}");
        };
        if let Err(violation) = sim::run(seed, profile, None) {
            anyhow::bail!("{line}\n{}", explained(violation, None));
        }
        count += 1;
    }
    assert!(count > 0, "the list is empty");
    Ok(())
}

#[test]
fn what_breaks_changes_only_when_things_are_done() {
    for seed in 0..COMPARED {
        let profile = Profile::of(seed);
        let end = |profile| {
            sim::run(seed, profile, None)
                .map(|outcome| outcome.end)
                .unwrap_or_else(|violation| panic!("{}", explained(violation, None)))
        };
        assert_eq!(
            end(profile),
            end(Profile::FaultFree),
            "seed {seed}, profile {}",
            profile.name()
        );
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..TWICE {
        let once = sim::run(seed, Profile::of(seed), None);
        let again = sim::run(seed, Profile::of(seed), None);
        assert_eq!(once, again, "seed {seed}");
    }
}

/// Each with its seed, and the seed without it. `edgeio-sim --search-plants` makes the table.
#[test]
fn each_planted_bug_is_found_by_an_invariant_at_its_seed() -> anyhow::Result<()> {
    let mut listed = Vec::new();
    for line in include_str!("seeds/plants.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // A question mark before the name: no schedule is known that finds it.
        if let Some(open) = line.strip_prefix("? ") {
            let name = open.split(' ').next().unwrap_or_default();
            println!("not found: {open}");
            listed.push(name.to_owned());
            continue;
        }
        let Some(entry) = plants::Entry::parse(line) else {
            anyhow::bail!("not `plant profile seed invariant`: {line}");
        };
        entry.check().map_err(anyhow::Error::msg)?;
        listed.push(entry.plant.name().to_owned());
    }
    let all: Vec<&str> = Plant::ALL.iter().map(|plant| plant.name()).collect();
    assert_eq!(listed, all, "the table lists every planted bug once");
    Ok(())
}
