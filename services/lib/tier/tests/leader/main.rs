//! Several engines over one database: at most one writes at a time, and somebody always does in the end.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what goes wrong here fails the test"
)]

mod bed;

use bed::{Bed, LEASE};
use edgeio_store::{Store, Write};
use edgeio_tier::leader::ENGINE;

const SECOND: i64 = 1_000;
const YEARS: i64 = 10 * 365 * 86_400 * SECOND;

#[tokio::test]
async fn the_first_leads_and_the_second_stands_by() {
    let mut bed = Bed::shared(2);
    assert_eq!(bed.work(0).await, Some(1));
    for _ in 0..60 {
        bed.wait(SECOND);
        assert_eq!(bed.work(0).await, Some(1), "it renews its lease");
        assert_eq!(bed.work(1).await, None);
    }
    assert_eq!(bed.epochs(), [1]);
}

#[tokio::test]
async fn a_leader_that_is_gone_is_followed_after_its_lease() {
    let mut bed = Bed::shared(2);
    bed.work(0).await;
    let mut waited = 0;
    while bed.work(1).await.is_none() {
        bed.wait(SECOND);
        waited += SECOND;
        assert!(waited <= LEASE + 2 * SECOND, "{waited} ms");
    }
    assert!(waited >= LEASE, "{waited} ms");
    bed.restart(0);
    bed.wait(SECOND);
    assert_eq!(bed.work(0).await, None, "another process now, as any other");
    assert_eq!(bed.epochs(), [1, 2]);
}

#[tokio::test]
async fn a_leader_that_was_paused_writes_nothing_more_after_it_was_followed() {
    let mut bed = Bed::shared(2);
    bed.work(0).await;
    for _ in 0..120 {
        bed.wait(SECOND);
        bed.work(1).await;
    }
    assert_eq!(bed.work(0).await, None);
    bed.wait(SECOND);
    assert_eq!(bed.work(0).await, None);
    assert_eq!(bed.epochs(), [1, 2]);
}

/// The pause may end between the look at the lease and the commit: the database's clock jumps, so that the other one is
/// elected while the first has no reason to look again.
#[tokio::test]
async fn a_leader_that_does_not_know_that_it_was_followed_is_refused_at_its_first_commit() {
    let mut bed = Bed::shared(2);
    bed.work(0).await;
    bed.wait(SECOND);
    bed.jump(YEARS);
    assert_eq!(bed.work(1).await, Some(2));
    bed.ask().await;
    let before = bed.revision().await;
    let outcome = bed.run(0).await;
    assert_eq!((outcome.writes, outcome.leads), (0, None));
    assert_eq!(bed.revision().await, before, "nothing was written");
    assert!(outcome.within.is_some_and(|within| !within.is_zero()));
    // And its compaction is none of its business either.
    bed.engine(0).compact().await.unwrap();
    assert_eq!(bed.revision().await, before);
    assert_eq!(bed.work(1).await, Some(2));
}

#[tokio::test]
async fn a_compaction_of_a_leader_that_was_followed_is_refused() {
    let mut bed = Bed::shared(2);
    bed.work(0).await;
    bed.jump(YEARS);
    assert_eq!(bed.work(1).await, Some(2));
    let before = bed.revision().await;
    bed.engine(0).compact().await.unwrap();
    assert_eq!(bed.revision().await, before);
    bed.engine(1).compact().await.unwrap();
    assert_eq!(bed.revision().await, before + 1);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_dead_leader_in_office() {
    let mut bed = Bed::shared(2);
    bed.work(0).await;
    bed.jump(-YEARS);
    let mut waited = 0;
    while bed.work(1).await.is_none() {
        bed.wait(SECOND);
        waited += SECOND;
        assert!(waited <= LEASE + 2 * SECOND, "{waited} ms");
    }
    assert_eq!(bed.epochs(), [1, 2]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_takes_no_living_leader_out_of_office() {
    let mut bed = Bed::shared(2);
    bed.work(0).await;
    bed.work(1).await;
    bed.jump(-YEARS);
    for _ in 0..60 {
        bed.wait(SECOND);
        assert_eq!(bed.work(0).await, Some(1));
        assert_eq!(bed.work(1).await, None);
    }
}

#[tokio::test]
async fn who_ends_gives_the_lease_away() {
    let mut bed = Bed::shared(2);
    bed.work(0).await;
    assert_eq!(bed.work(1).await, None);
    bed.engine(0).resign().await.unwrap();
    bed.wait(2 * SECOND);
    assert_eq!(bed.work(1).await, Some(2));
    // Late, and it takes nothing from the next one.
    bed.engine(0).resign().await.unwrap();
    bed.wait(SECOND);
    assert_eq!(bed.work(1).await, Some(2));
}

#[tokio::test]
async fn where_a_database_is_one_process_s_own_a_new_process_leads_at_once_and_writes_nothing_while_idle()
 {
    let mut bed = Bed::exclusive();
    assert_eq!(bed.work(0).await, Some(1));
    bed.restart(0);
    assert_eq!(
        bed.work(0).await,
        Some(2),
        "no wait for the dead one's lease"
    );
    let lease = bed.lease().await;
    bed.wait(3600 * SECOND);
    let outcome = bed.run(0).await;
    assert_eq!((outcome.writes, outcome.within), (0, None));
    assert_eq!(bed.lease().await, lease, "never renewed");
}

#[tokio::test]
async fn a_lease_that_somebody_removed_is_taken_anew() {
    let mut bed = Bed::shared(1);
    bed.work(0).await;
    let mut tx = bed.store.write().await.unwrap();
    tx.stage(Write::DeleteLease(ENGINE.to_owned()));
    tx.commit().await.unwrap();
    bed.ask().await;
    assert_eq!(bed.run(0).await.leads, None, "what it held is not there");
    bed.wait(2 * SECOND);
    assert!(bed.work(0).await.is_some());
}

/// Random schedules: three processes that run, die, are paused, see commits fail, under a clock that jumps.
#[tokio::test]
async fn whatever_happens_no_two_write_in_turns_and_somebody_does_in_the_end() {
    for seed in 0..200 {
        let mut bed = Bed::shared(3);
        let mut dice = bed::Dice(seed);
        let mut paused = [0_u64; 3];
        for _ in 0..150 {
            bed.wait(dice.below(4_000) as i64);
            let who = usize::try_from(dice.below(3)).unwrap();
            match dice.below(40) {
                0 => bed.restart(who),
                1 => paused[who] = 5 + dice.below(40),
                2 => bed.jump(YEARS),
                3 => bed.jump(-YEARS),
                4 => bed.jump(dice.below(60_000) as i64 - 30_000),
                5 => bed.break_next_commit(dice.below(2) == 0),
                6 => bed.engine(who).resign().await.unwrap_or_default(),
                _ if paused[who] > 0 => paused[who] -= 1,
                _ => {
                    bed.work(who).await;
                }
            }
        }
        bed.heal();
        let mut last = None;
        for _ in 0..40 {
            bed.wait(SECOND);
            for who in 0..3 {
                last = bed.work(who).await.or(last);
            }
        }
        assert!(last.is_some(), "seed {seed}: nobody leads");
        let epochs = bed.epochs();
        assert!(
            epochs.is_sorted(),
            "seed {seed}: commits of different leaders are mixed: {epochs:?}"
        );
    }
}
