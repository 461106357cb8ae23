//! The laws of README.md on random pools, each against a statement that shares no code with what it checks.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    child::{Bucket, ChildState},
    ids::ChildId,
    resources::Resources,
};
use edgeio_scheduler::{Candidate, Demand, Pool};
use proptest::prelude::*;
use uuid::Uuid;

const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
const RUNTIMES: [&str; 2] = ["docker", "process"];

fn amounts(most: i64) -> impl Strategy<Value = Resources> {
    (0..=most, 0..=most).prop_map(|(cpu_millis, memory_bytes)| Resources {
        cpu_millis,
        memory_bytes,
    })
}

fn bucket() -> impl Strategy<Value = Bucket> {
    (0..2usize, 0..4usize, 1..4u32, amounts(40), amounts(40)).prop_map(
        |(architecture, runtimes, workers, free, piece)| Bucket {
            architecture: ARCHITECTURES[architecture].into(),
            runtimes: RUNTIMES
                .iter()
                .enumerate()
                .filter(|(bit, _)| runtimes & (1 << bit) != 0)
                .map(|(_, name)| (*name).into())
                .collect(),
            workers,
            free,
            // Also what disagrees with `free`: a report is believed only as far as it makes sense.
            largest: piece,
        },
    )
}

fn state() -> impl Strategy<Value = ChildState> {
    prop_oneof![
        8 => Just(ChildState::Ready),
        1 => Just(ChildState::Registered),
        1 => Just(ChildState::Suspect),
        1 => Just(ChildState::Returning),
    ]
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (
        state(),
        prop::collection::vec(bucket(), 0..4),
        amounts(20),
        0..3u32,
        any::<bool>(),
    );
    prop::collection::vec(one, 0..7).prop_map(|all| {
        let number = |(index, (state, buckets, taken, instances, stops_exclusive)): (usize, _)| {
            let buckets: Vec<Bucket> = buckets;
            let free: Resources = buckets.iter().map(|b| b.free).sum();
            Candidate {
                id: ChildId(Uuid::from_u128(index as u128 + 1)),
                name: format!("worker {index}"),
                state,
                stops_exclusive,
                allocatable: free + taken,
                buckets,
                instances,
            }
        };
        all.into_iter().enumerate().map(number).collect()
    })
}

fn demand() -> impl Strategy<Value = Demand> {
    (amounts(20), 0..4usize, 0..2usize, 0..4u8).prop_map(
        |(resources, architectures, runtime, exclusive)| Demand {
            resources,
            architectures: ARCHITECTURES
                .iter()
                .enumerate()
                .filter(|(bit, _)| architectures & (1 << bit) != 0)
                .map(|(_, name)| (*name).into())
                .collect(),
            runtime: RUNTIMES[runtime].into(),
            image: true,
            exclusive: exclusive == 0,
        },
    )
}

/// Demands with the number of the service that they belong to and the child that refuses it.
fn demands() -> impl Strategy<Value = Vec<(Demand, u8, u128)>> {
    prop::collection::vec((demand(), 0..3u8, 0..9u128), 1..14)
}

type Answers = Vec<Result<ChildId, Vec<String>>>;

/// Places `demands` in turn; siblings are what was placed before.
fn place_all(pool: &mut Pool, demands: &[(Demand, u8, u128)]) -> Answers {
    let mut placed: BTreeMap<(u8, ChildId), u32> = BTreeMap::new();
    let mut answers = Vec::new();
    for (demand, service, refuses) in demands {
        let refuses = ChildId(Uuid::from_u128(*refuses));
        let refused = |id| (id == refuses).then(|| "busy".to_owned());
        let siblings = |id| placed.get(&(*service, id)).copied().unwrap_or(0);
        let answer = pool.place(demand, &siblings, &refused);
        if let Ok(id) = answer {
            *placed.entry((*service, id)).or_default() += 1;
        }
        answers.push(answer.map_err(|all| all.into_iter().map(|r| r.candidate).collect()));
    }
    answers
}

/// The plain reading of "fits".
fn fits(bucket: &Bucket, demand: &Demand) -> bool {
    let enough = |asked: i64, room: i64| asked == 0 || asked <= room;
    (demand.architectures.is_empty() || demand.architectures.contains(&bucket.architecture))
        && bucket.runtimes.contains(&demand.runtime)
        && enough(demand.resources.cpu_millis, bucket.largest.cpu_millis)
        && enough(demand.resources.memory_bytes, bucket.largest.memory_bytes)
}

proptest! {
    #[test]
    fn never_over_commits(candidates in candidates(), demands in demands()) {
        let mut pool = Pool::new("worker", candidates.clone());
        let answers = place_all(&mut pool, &demands);
        for candidate in pool.candidates() {
            for bucket in &candidate.buckets {
                prop_assert!(bucket.free.cpu_millis >= 0 && bucket.free.memory_bytes >= 0, "{candidate:?}");
                prop_assert!(bucket.free.holds(&bucket.largest), "{candidate:?}");
            }
        }
        // Nothing vanishes either: what is gone is what was placed.
        for before in &candidates {
            let after = pool.candidates().find(|c| c.id == before.id).unwrap();
            let placed = demands.iter().zip(&answers).filter(|(_, a)| **a == Ok(before.id));
            let taken: Resources = placed.map(|((demand, ..), _)| demand.resources).sum();
            let free = |c: &Candidate| c.buckets.iter().map(|b| b.free).sum::<Resources>();
            prop_assert_eq!(free(before) - free(after), taken);
        }
    }

    #[test]
    fn each_answer_is_complete_spread_and_explained(
        candidates in candidates(), first in demands(), next in demand(), refuses in 0..9u128, counts in prop::array::uniform8(0..3u32),
    ) {
        let mut pool = Pool::new("worker", candidates.clone());
        place_all(&mut pool, &first);
        let siblings = |id: ChildId| counts[(id.0.as_u128() as usize).min(7)];
        let refused = |id: ChildId| (id.0.as_u128() == refuses).then(|| "busy".to_owned());
        let able: BTreeSet<ChildId> = pool
            .candidates()
            .filter(|c| c.state == ChildState::Ready && refused(c.id).is_none())
            .filter(|c| c.buckets.iter().any(|bucket| fits(bucket, &next)))
            .filter(|c| c.stops_exclusive || !next.exclusive)
            .map(|c| c.id)
            .collect();
        let before = pool.clone();
        match pool.place(&next, &siblings, &refused) {
            Ok(id) => {
                prop_assert!(able.contains(&id));
                prop_assert_eq!(Some(siblings(id)), able.iter().map(|id| siblings(*id)).min());
                let others = before.explain(&next, &refused).len();
                prop_assert_eq!(others, candidates.len() - able.len());
            }
            Err(reasons) => {
                prop_assert!(able.is_empty(), "{able:?} can take {next:?}");
                prop_assert_eq!(&pool, &before);
                prop_assert_eq!(reasons.len(), candidates.len().max(1));
                for entry in reasons {
                    prop_assert!(!entry.reasons.is_empty(), "{}", entry.candidate);
                    prop_assert!(entry.reasons.iter().all(|reason| !reason.is_empty()));
                }
            }
        }
    }

    #[test]
    fn idempotent_from_its_own_output(candidates in candidates(), demands in demands()) {
        let mut pool = Pool::new("worker", candidates.clone());
        let answers = place_all(&mut pool, &demands);
        let mut again = Pool::new("worker", candidates);
        for ((demand, ..), answer) in demands.iter().zip(&answers) {
            if let Ok(id) = answer {
                again.reserve(*id, demand);
            }
        }
        prop_assert_eq!(&again, &pool);
    }

    #[test]
    fn a_release_undoes_its_reservation(candidates in candidates(), first in demands(), more in demands()) {
        let mut pool = Pool::new("worker", candidates);
        place_all(&mut pool, &first);
        let before = pool.clone();
        let placed = place_all(&mut pool, &more);
        for ((demand, ..), answer) in more.iter().zip(&placed).rev() {
            if let Ok(id) = answer {
                pool.release(*id, demand);
            }
        }
        prop_assert_eq!(pool, before);
    }

    #[test]
    fn an_unrelated_candidate_moves_nothing(candidates in candidates(), demands in demands()) {
        let answers = place_all(&mut Pool::new("worker", candidates.clone()), &demands);
        let used: BTreeSet<ChildId> = answers.iter().filter_map(|a| a.clone().ok()).collect();
        for unrelated in candidates.iter().filter(|c| !used.contains(&c.id)) {
            let rest = candidates.iter().filter(|c| c.id != unrelated.id).cloned();
            let again = place_all(&mut Pool::new("worker", rest), &demands);
            let places = |all: &Answers| all.iter().map(|a| a.clone().ok()).collect::<Vec<_>>();
            prop_assert_eq!(places(&again), places(&answers));
        }
    }

    #[test]
    fn the_order_of_the_input_is_irrelevant(
        (candidates, shuffled) in candidates().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        demands in demands(),
    ) {
        let turned = shuffled.into_iter().map(|mut candidate| {
            candidate.buckets.reverse();
            candidate
        });
        let mut other = Pool::new("worker", turned);
        let mut pool = Pool::new("worker", candidates);
        prop_assert_eq!(place_all(&mut pool, &demands), place_all(&mut other, &demands));
        prop_assert_eq!(pool, other);
    }
}

fn worker(number: u128, cpu: i64, mib: i64) -> Candidate {
    let all = Resources {
        cpu_millis: cpu,
        memory_bytes: mib << 20,
    };
    Candidate {
        id: ChildId(Uuid::from_u128(number)),
        name: format!("worker {number}"),
        state: ChildState::Ready,
        stops_exclusive: true,
        allocatable: all,
        buckets: vec![Bucket {
            architecture: "amd64".into(),
            runtimes: vec!["docker".into()],
            workers: 1,
            free: all,
            largest: all,
        }],
        instances: 0,
    }
}

#[test]
fn what_asks_for_nothing_spreads_by_the_size_of_the_workers() {
    let mut pool = Pool::new("worker", [worker(1, 4000, 8192), worker(2, 2000, 4096)]);
    let nothing = Demand::default();
    let mut count = BTreeMap::new();
    for _ in 0..30 {
        let id = pool.place(&nothing, &|_| 0, &|_| None).unwrap();
        *count.entry(id.0.as_u128()).or_insert(0) += 1;
    }
    assert_eq!(count, BTreeMap::from([(1, 20), (2, 10)]));
}

#[test]
fn what_asks_for_nothing_fits_where_all_is_taken() {
    let mut pool = Pool::new("worker", [worker(1, 1000, 1024)]);
    let greedy = Demand {
        resources: Resources {
            cpu_millis: 1500,
            memory_bytes: 2 << 30,
        },
        ..Demand::default()
    };
    let id = ChildId(Uuid::from_u128(1));
    pool.reserve(id, &greedy);
    let reasons = pool.place(&greedy, &|_| 0, &|_| None).unwrap_err();
    assert_eq!(
        reasons[0].reasons,
        [
            "needs 1500m CPU, largest free is 0",
            "needs 2Gi memory, largest free is 0"
        ]
    );
    assert_eq!(pool.place(&Demand::default(), &|_| 0, &|_| None), Ok(id));
}

#[test]
fn what_a_child_counts_as_taken_can_be_released() {
    let mut candidate = worker(1, 1000, 1024);
    candidate.instances = 1;
    candidate.buckets[0].free.cpu_millis = 200;
    let mut pool = Pool::new("worker", [candidate]);
    let half = Demand {
        resources: Resources {
            cpu_millis: 500,
            memory_bytes: 0,
        },
        ..Demand::default()
    };
    let id = ChildId(Uuid::from_u128(1));
    assert!(pool.place(&half, &|_| 0, &|_| None).is_err());
    pool.release(id, &half);
    assert_eq!(pool.place(&half, &|_| 0, &|_| None), Ok(id));
}

#[test]
fn a_job_too_big_for_every_worker_is_not_sent_to_their_cluster() {
    let mut cluster = worker(1, 4000, 8192);
    cluster.buckets[0].workers = 4;
    cluster.buckets[0].largest = Resources {
        cpu_millis: 1000,
        memory_bytes: 2 << 30,
    };
    let mut pool = Pool::new("cluster", [cluster]);
    let big = Demand {
        resources: Resources {
            cpu_millis: 1500,
            memory_bytes: 0,
        },
        ..Demand::default()
    };
    let reasons = pool.place(&big, &|_| 0, &|_| None).unwrap_err();
    assert_eq!(reasons[0].reasons, ["needs 1500m CPU, largest free is 1"]);
}
