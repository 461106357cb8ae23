//! The two halves of the link against each other, under virtual time and over a network that loses, repeats, delays and
//! reorders; either side restarts, and the parent's database is lost or restored to an older copy.
//!
//! A seed is a schedule. `EDGEIO_LINK_SEEDS=A..B` runs others than the usual ones, and so replays one that failed.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is its report")]

mod child_side;
mod clones;
mod parent_side;
mod tell;
mod world;

use std::ops::Range;

use world::{Tally, World};

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("EDGEIO_LINK_SEEDS") else {
        return 0..500;
    };
    let number = |text: &str| text.parse::<u64>().unwrap();
    let (from, to) = text.split_once("..").unwrap();
    number(from)..number(to)
}

#[test]
fn both_sides_agree_and_fall_silent_whatever_happened_before() {
    let mut sum = Tally::default();
    for seed in seeds() {
        match World::run(seed) {
            Ok(tally) => sum.add(&tally),
            Err(what) => panic!(
                "{}\nseed {seed}: {what}\nreplay: EDGEIO_LINK_SEEDS={seed}..{} cargo test -p edgeio-link --test two_party",
                World::story(seed),
                seed + 1
            ),
        }
    }
    println!("{sum:?}");
    if seeds() == (0..500) {
        // A simulation in which these never happen proves nothing.
        for (name, count) in sum.names() {
            assert!(count >= 30, "{name} happened only {count} times: {sum:?}");
        }
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..10 {
        let once = World::run(seed).unwrap();
        assert_eq!(once, World::run(seed).unwrap(), "seed {seed}");
    }
}
