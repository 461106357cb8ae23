//! What the cluster offers its root.

use edgeio_domain::{lifecycle::Phase, resources::Resources};
use edgeio_proto::link::v1;

use super::bed::{Bed, run, uuid};

async fn offer(bed: &mut Bed) -> v1::Capacity {
    let reports = bed.reports().await;
    let mut offers: Vec<_> = reports.into_iter().filter_map(|r| r.capacity).collect();
    offers.pop().expect("a capacity is told")
}

#[tokio::test]
async fn a_revision_is_included_once_everything_of_it_has_a_place() {
    let mut bed = Bed::new().await;
    bed.worker(50, 4, 4).await;
    bed.snapshot(vec![run(1)]).await;
    let waiting = offer(&mut bed).await;
    assert_eq!(
        waiting.includes_revision, 0,
        "slot 1 is in nobody's free amounts"
    );
    bed.plan().await;
    let placed = offer(&mut bed).await;
    assert_eq!(placed.includes_revision, bed.root.revision);
    assert_eq!(placed.free.unwrap().cpu_millis, 3000);
}

#[tokio::test]
async fn what_is_held_without_a_place_does_not_stop_the_count() {
    let mut bed = Bed::new().await;
    bed.snapshot(vec![run(1)]).await;
    bed.plan().await;
    bed.snapshot(Vec::new()).await;
    bed.worker(50, 0, 4).await;
    bed.plan().await;
    assert!(bed.instances().await.is_empty());
    assert_eq!(offer(&mut bed).await.includes_revision, bed.root.revision);
}

#[tokio::test]
async fn revisions_of_a_database_that_the_root_has_lost_are_not_included() {
    let mut bed = Bed::new().await;
    bed.worker(50, 1, 4).await;
    bed.snapshot(vec![run(1)]).await;
    bed.plan().await;
    bed.all_are(Phase::Running).await;
    assert!(offer(&mut bed).await.includes_revision > 0);
    bed.root.lineage = edgeio_domain::ids::Lineage(uuid(3));
    bed.root.revision = 1;
    bed.attach().await;
    bed.snapshot(vec![run(1), run(2)]).await;
    bed.plan().await;
    assert_eq!(offer(&mut bed).await.includes_revision, 0, "2 has no place");
}

#[tokio::test]
async fn a_job_that_fits_no_single_worker_is_not_invited() {
    let mut bed = Bed::new().await;
    for (n, cores, gib) in [(50, 8, 1), (51, 1, 8), (52, 4, 4), (53, 4, 3), (54, 1, 1)] {
        bed.worker(n, cores, gib).await;
    }
    let offer = offer(&mut bed).await;
    let room = |r: &Option<v1::Resources>| {
        let r = r.unwrap();
        (r.cpu_millis / 1000, r.memory_bytes >> 30)
    };
    let mut largest: Vec<_> = offer
        .buckets
        .iter()
        .map(|b| (room(&b.largest), b.workers, room(&b.free)))
        .collect();
    largest.sort_unstable();
    assert_eq!(
        largest,
        [
            ((1, 8), 1, (1, 8)),
            ((4, 4), 2, (8, 7)),
            ((8, 1), 2, (9, 2))
        ]
    );
    let all = largest
        .iter()
        .fold(Resources::default(), |sum, (_, _, (cpu, gib))| {
            sum + Resources {
                cpu_millis: cpu * 1000,
                memory_bytes: gib << 30,
            }
        });
    assert_eq!(
        Some(v1::Resources {
            cpu_millis: all.cpu_millis,
            memory_bytes: all.memory_bytes
        }),
        offer.free
    );
}

#[tokio::test]
async fn a_worker_that_offers_less_than_it_runs_hides_no_room_of_others() {
    let mut bed = Bed::new().await;
    bed.worker(50, 4, 4).await;
    bed.snapshot(vec![run(1), run(2)]).await;
    bed.plan().await;
    bed.worker(50, 1, 4).await;
    bed.worker(51, 1, 4).await;
    let offer = offer(&mut bed).await;
    assert_eq!(offer.free.unwrap().cpu_millis, 1000);
    let buckets = offer.buckets.iter();
    let free: i64 = buckets.map(|b| b.free.unwrap().cpu_millis).sum();
    assert_eq!(free, 1000);
}
