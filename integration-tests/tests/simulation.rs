//! The first simulation: schedules of a root, a cluster and two workers, and the planted bugs that prove its strength.

use edgeio_domain::plant::Plant;
use edgeio_integration_tests::sim::{self, Profile};

/// Schedules of one run. `EDGEIO_SIM_SEEDS=A..B` runs others, and so replays a seed that failed.
fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("EDGEIO_SIM_SEEDS").ok();
    given.as_deref().map_or(0..100, |text| {
        let (from, to) = text.split_once("..").expect("EDGEIO_SIM_SEEDS is A..B");
        from.parse().expect("A is a number")..to.parse().expect("B is a number")
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
fn hostile_schedules_keep_the_invariants() {
    let mut events = 0;
    for seed in seeds() {
        match sim::run(seed, Profile::Hostile, None) {
            Ok(outcome) => events += outcome.events,
            Err(violation) => panic!(
                "{violation}\nreplay: EDGEIO_SIM_SEEDS={seed}..{} make sim",
                seed + 1
            ),
        }
    }
    println!("{} schedules, {events} events", seeds().count());
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
    for plant in Plant::ALL {
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
