//! The first simulation: schedules of a root, a cluster and two workers, and the planted bugs that prove its strength.

use edgeio_domain::plant::Plant;
use edgeio_integration_tests::sim::{self, Profile};

/// Schedules of one run. `EDGEIO_SIM_SEEDS=A..B` runs others, and so replays a seed that failed.
fn seeds() -> anyhow::Result<std::ops::Range<u64>> {
    let Ok(text) = std::env::var("EDGEIO_SIM_SEEDS") else {
        return Ok(0..100);
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let range = text
        .split_once("..")
        .and_then(|(from, to)| Some(number(from)?..number(to)?));
    range.ok_or_else(|| {
        anyhow::anyhow!("EDGEIO_SIM_SEEDS must be A..B, such as 0..100; it is {text:?}")
    })
}

/// The command that runs one seed again.
fn replay(seed: u64) -> String {
    format!(
        "EDGEIO_SIM_SEEDS={seed}..{} cargo test -p edgeio-integration-tests --test simulation",
        seed + 1
    )
}

#[test]
fn hostile_schedules_keep_the_invariants() -> anyhow::Result<()> {
    let (seeds, mut events) = (seeds()?, 0);
    for seed in seeds.clone() {
        match sim::run(seed, Profile::Hostile, None) {
            Ok(outcome) => events += outcome.events,
            Err(violation) => panic!("{violation}\nreplay: {}", replay(seed)),
        }
    }
    println!("{} schedules, {events} events", seeds.count());
    Ok(())
}

/// Seeds that once found something, with what it was.
const FOUND: [(u64, &str); 2] = [
    (
        1635,
        "a capacity that was lost on its way was never told again",
    ),
    (1771, "the same, before the workers had reported"),
];

#[test]
fn seeds_that_found_something_hold() {
    for (seed, what) in FOUND {
        sim::run(seed, Profile::Hostile, None)
            .unwrap_or_else(|violation| panic!("{what}: {violation}"));
    }
}

#[test]
fn fault_free_schedules_converge() {
    for seed in 0..20 {
        sim::run(seed, Profile::FaultFree, None).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..5 {
        let once = sim::run(seed, Profile::Hostile, None).expect("the schedule holds");
        let again = sim::run(seed, Profile::Hostile, None).expect("the schedule holds");
        assert_eq!(once, again, "seed {seed}");
    }
}

#[test]
fn each_planted_bug_is_found_by_an_invariant() {
    let first = [
        Plant::EmptyPlan,
        Plant::DeafChild,
        Plant::LedgerWithoutWrite,
    ];
    for plant in first {
        let found = (0..100).find_map(|seed| sim::run(seed, Profile::Hostile, Some(plant)).err());
        let violation =
            found.unwrap_or_else(|| panic!("{} is not found in 100 schedules", plant.name()));
        println!(
            "{}: seed {}, {}",
            plant.name(),
            violation.seed,
            violation.invariant
        );
    }
}
