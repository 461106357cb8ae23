//! Silence judged: a table of situations, and the laws under chance.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const SECOND: i64 = 1000;

/// A tier that judges its children every second.
struct Tier {
    ears: Ears,
    leases: Leases,
    children: Vec<Child>,
    now: Time,
}

impl Tier {
    fn new(children: u128) -> Self {
        let child = |n| Child {
            id: ChildId(Uuid::from_u128(n)),
            state: ChildState::Ready,
            ..Default::default()
        };
        Self {
            ears: Ears::new(Leases::default(), Time(0)),
            leases: Leases::default(),
            children: (0..children).map(child).collect(),
            now: Time(0),
        }
    }

    /// One judgement, recorded. Answers how many began to be replaced.
    fn judge(&mut self) -> usize {
        self.ears.attend(&self.children, self.now);
        let verdicts = self.ears.judge(&self.children, self.now);
        let mut began = 0;
        for verdict in verdicts {
            let at = self.children.iter().position(|c| c.id == verdict.id);
            let child = &mut self.children[at.unwrap()];
            began +=
                usize::from(verdict.replace == Replace::Proven && child.replace != Replace::Proven);
            *child = verdict;
        }
        self.ears.began(began, self.now);
        let again = self.ears.judge(&self.children, self.now);
        assert!(again.is_empty(), "judging twice is judging once: {again:?}");
        began
    }

    fn hear(&mut self, at: usize) {
        let child = &mut self.children[at];
        (child.state, child.replace) = (ChildState::Ready, Replace::No);
        child.silence = Duration::ZERO;
        self.ears.hear(child.id, self.now);
    }

    /// Lets seconds pass in which these report every 15 s.
    fn pass(&mut self, seconds: u64, heard: &[usize]) -> usize {
        let mut began = 0;
        for _ in 0..seconds {
            self.now.0 += SECOND;
            if self.now.0 % (15 * SECOND) == 0 {
                heard.iter().for_each(|at| self.hear(*at));
            }
            began += self.judge();
        }
        began
    }

    fn restart(&mut self) {
        self.ears = Ears::new(self.leases, self.now);
        self.judge();
    }

    fn stands(&self, at: usize) -> (ChildState, Replace) {
        (self.children[at].state, self.children[at].replace)
    }
}

use ChildState::{Disconnected, Lost, Ready, Returning, Suspect};
use Replace::{Fenced, Limited, No, Proven, Released, Unproven};

#[test]
fn a_silent_child_goes_through_its_states_while_another_is_heard() {
    let mut tier = Tier::new(2);
    tier.hear(0);
    tier.hear(1);
    for (seconds, state, replace) in [
        (44, Ready, No),
        (1, Suspect, No),
        (44, Suspect, No),
        (1, Disconnected, No),
        (209, Disconnected, No),
        (1, Disconnected, Proven),
        (24 * 3600 - 301, Disconnected, Proven),
        (1, Lost, Proven),
    ] {
        tier.pass(seconds, &[1]);
        assert_eq!(tier.stands(0), (state, replace), "at {:?}", tier.now);
    }
    assert_eq!(tier.stands(1), (Ready, No));
    assert_eq!(tier.children[0].silence, Duration::from_secs(24 * 3600));
}

#[test]
fn what_breaks_everything_replaces_nothing_and_loses_nobody() {
    let mut tier = Tier::new(10);
    tier.pass(60, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    // Their last words are up to an interval apart.
    for at in 0..10 {
        tier.pass(1, &[]);
        tier.hear(at);
    }
    tier.pass(25 * 3600, &[]);
    assert!((0..10).all(|at| tier.stands(at) == (Disconnected, Unproven)));
    // The fault is mended and one comes back at once: the others are given a lease to do so too.
    tier.hear(9);
    assert_eq!(tier.pass(44, &[9]), 0);
    tier.hear(8);
    assert_eq!(tier.pass(15, &[8, 9]), 1);
    assert_eq!(tier.stands(1), (Lost, Limited));
    assert_eq!(tier.stands(8), (Ready, No));
    // It began at the report at 45 s, 9 s ago.
    assert_eq!(tier.pass(50, &[8, 9]), 0);
    assert_eq!(tier.pass(1, &[8, 9]), 1);
}

#[test]
fn an_only_child_is_never_replaced_by_itself() {
    let mut tier = Tier::new(1);
    tier.hear(0);
    tier.pass(25 * 3600, &[]);
    assert_eq!(tier.stands(0), (Disconnected, Unproven));
    tier.children[0].replace = Released;
    tier.pass(60, &[]);
    assert_eq!(tier.stands(0), (Disconnected, Released));
}

#[test]
fn only_words_from_one_lease_to_the_next_are_evidence() {
    // The silent one was heard at 0. When the other one was heard, and whether that proves anything.
    for (words, proven) in [
        (&[44][..], false),
        (&[45], false),
        (&[20, 44], false),
        (&[1, 40, 80], true),
        (&[1, 45, 89], true),
        (&[100, 200], false),
        (&[100, 144], false),
        (&[100, 140, 145], true),
        (&[290, 299], false),
    ] {
        let mut tier = Tier::new(2);
        tier.hear(0);
        for at in words {
            let seconds = *at - u64::try_from(tier.now.0 / SECOND).unwrap();
            tier.pass(seconds, &[]);
            tier.hear(1);
        }
        tier.pass(300, &[]);
        let replace = if proven { Proven } else { Unproven };
        assert_eq!(tier.stands(0), (Disconnected, replace), "{words:?}");
    }
}

#[test]
fn half_of_the_children_are_replaced_at_the_rate() {
    let mut tier = Tier::new(40);
    let half: Vec<usize> = (20..40).collect();
    (0..40).for_each(|at| tier.hear(at));
    tier.pass(299, &half);
    assert_eq!(tier.pass(1, &half), 4);
    assert_eq!(tier.pass(59, &half), 0);
    assert_eq!(tier.pass(1, &half), 4);
    assert_eq!(tier.pass(180, &half), 12);
    assert!((0..20).all(|at| tier.stands(at) == (Disconnected, Proven)));
}

#[test]
fn a_way_that_is_cut_takes_its_evidence_with_it() {
    let mut tier = Tier::new(2);
    tier.hear(0);
    tier.pass(290, &[1]);
    tier.ears.cut();
    tier.pass(60, &[]);
    assert_eq!(tier.stands(0), (Disconnected, Unproven));
    tier.pass(46, &[1]);
    assert_eq!(tier.stands(0), (Disconnected, Unproven));
    tier.pass(15, &[1]);
    assert_eq!(tier.stands(0), (Disconnected, Proven));
}

#[test]
fn a_restart_goes_on_counting_and_grants_a_lease() {
    let mut tier = Tier::new(2);
    tier.hear(0);
    tier.pass(280, &[1]);
    let recorded = tier.children[0].silence;
    assert!(recorded >= Duration::from_secs(225), "{recorded:?}");
    // An hour without the tier is no silence.
    tier.now.0 += 3600 * SECOND;
    tier.restart();
    tier.pass(44, &[1]);
    assert_eq!(tier.stands(0), (Disconnected, No));
    // Evidence begins anew too: a lease after the start, and a word after that.
    tier.pass(1 + 300 - 45 - recorded.as_secs().min(255), &[1]);
    tier.pass(16, &[1]);
    assert_eq!(tier.stands(0), (Disconnected, Proven));
    assert!(tier.children[0].silence < Duration::from_secs(400));
}

#[test]
fn a_tier_that_was_suspended_blames_nobody() {
    let mut tier = Tier::new(2);
    tier.pass(60, &[0, 1]);
    tier.now.0 += 3600 * SECOND;
    tier.judge();
    // The first of the words that waited is taken.
    tier.hear(1);
    tier.judge();
    assert_eq!(tier.stands(0), (Ready, No));
    tier.pass(44, &[1]);
    assert_eq!(tier.stands(0), (Ready, No));
    tier.pass(60, &[1]);
    assert_eq!(tier.stands(0), (Disconnected, No));
}

#[test]
fn who_knocks_is_given_one_lease_to_report() {
    let mut tier = Tier::new(2);
    tier.hear(0);
    tier.pass(320, &[1]);
    assert_eq!(tier.stands(0), (Disconnected, Proven));
    let knock = |tier: &mut Tier| {
        let child = &mut tier.children[0];
        child.state = Returning;
        tier.ears.knock(child.id, child.silence, tier.now);
    };
    knock(&mut tier);
    tier.pass(44, &[1]);
    assert_eq!(tier.stands(0), (Returning, Proven));
    tier.pass(1, &[1]);
    assert_eq!(tier.stands(0), (Disconnected, Proven));
    knock(&mut tier);
    tier.pass(1, &[1]);
    assert_eq!(tier.stands(0), (Disconnected, Proven));
}

#[test]
fn a_fenced_child_that_knocks_and_does_not_report_is_lost_again() {
    let mut tier = Tier::new(2);
    tier.hear(0);
    tier.pass(50, &[1]);
    (tier.children[0].state, tier.children[0].replace) = (Lost, Fenced);
    tier.pass(100, &[1]);
    assert_eq!(tier.stands(0), (Lost, Fenced));
    let child = &mut tier.children[0];
    child.state = Returning;
    tier.ears.knock(child.id, child.silence, tier.now);
    tier.pass(46, &[1]);
    assert_eq!(tier.stands(0), (Lost, Fenced));
}

#[test]
fn who_never_reported_or_left_is_not_judged() {
    let mut tier = Tier::new(3);
    tier.children[0].state = ChildState::Registered;
    tier.children[1].state = ChildState::Left;
    tier.pass(600, &[2]);
    assert_eq!(tier.stands(0), (ChildState::Registered, No));
    assert_eq!(tier.stands(1), (ChildState::Left, No));
}

#[test]
fn at_least_one_may_always_begin() {
    let leases = Leases::default();
    for (children, limit) in [(0, 1), (1, 1), (10, 1), (19, 1), (20, 2), (1000, 100)] {
        assert_eq!(leases.limit(children), limit);
    }
}

proptest! {
    /// Whatever is heard, cut and restarted: nobody becomes Proven or Lost unless another one was heard at least a lease
    /// after its own last word, and no more than the rate in any minute.
    #[test]
    fn nothing_is_replaced_without_evidence_or_beyond_the_rate(
        steps in prop::collection::vec((0u8..8, 0usize..12, 1u64..90), 1..25),
    ) {
        let mut tier = Tier::new(12);
        let mut words = [Time(0); 12];
        let mut begun: Vec<Time> = Vec::new();
        for (what, who, seconds) in steps {
            match what {
                0..5 => {
                    tier.hear(who);
                    words[who] = tier.now;
                }
                5 => tier.ears.cut(),
                6 => {
                    // Before a restart, nothing in memory limits the next minute.
                    tier.restart();
                    begun.clear();
                }
                _ => {}
            }
            for _ in 0..seconds {
                let before: Vec<_> = (0..12).map(|at| tier.stands(at)).collect();
                let began = tier.pass(1, &[]);
                begun.extend(std::iter::repeat_n(tier.now, began));
                let window = begun.iter().filter(|at| tier.now.since(**at) < RATE_TIME).count();
                prop_assert!(window <= tier.leases.limit(12));
                for at in 0..12 {
                    let (state, replace) = tier.stands(at);
                    let worse = (state == Lost && before[at].0 != Lost)
                        || (replace == Proven && before[at].1 != Proven);
                    let newest = (0..12).filter(|other| *other != at).map(|other| words[other]).max();
                    prop_assert!(
                        !worse || newest.unwrap() >= words[at] + tier.leases.lease,
                        "{at} became {state:?} {replace:?} at {:?}: {words:?}", tier.now
                    );
                }
            }
        }
    }
}
