//! What goes through when nothing fails.

use std::collections::HashSet;
use std::time::Instant;

use edgeio_bridge::bus::{MAX_PAYLOAD, PublishError, WorkerBus as _};
use edgeio_proto::link::v1::{ChildMessage, child_message, parent_message};
use edgeio_proto::link::v1::{InstanceReport, ParentMessage, Report, Snapshot, Spec};

use crate::bed::{Bed, ack, acks, eventually, report, sample};

/// More than a subscription of a bridge holds would have to be paced; this many may come at once.
const BURST: u64 = 3000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_arrive_once_and_are_shared_by_two_bridges() {
    let bed = Bed::start().await;
    let bridges = [bed.bridge(), bed.bridge()];
    bed.cluster.bridges(2, true).await;
    let worker = bed.worker().await;
    bed.heard(&worker).await;
    for seq in 1..=BURST {
        worker.say(&report(seq)).await;
    }
    // Everything that was published before this hello and takes the same way has arrived when it has.
    worker.bus.flush().await.unwrap();
    eventually("every report", || {
        let seqs = bed.reports(&worker);
        if seqs.len() as u64 >= BURST {
            Ok(())
        } else {
            Err(format!("{} of {BURST}", seqs.len()))
        }
    })
    .await;
    bed.heard(&worker).await;
    let mut seqs = bed.reports(&worker);
    seqs.sort_unstable();
    assert!(seqs.iter().copied().eq(1..=BURST), "each once");
    let carriers: HashSet<_> = bed
        .cluster
        .seen()
        .up
        .iter()
        .map(|(b, _, _)| b.clone())
        .collect();
    assert_eq!(carriers.len(), 2, "both carried");
    let lost: u64 = bridges
        .iter()
        .map(|bridge| bridge.counters.lost.total())
        .sum();
    assert_eq!(lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bridge_keeps_the_order_of_thousands_both_ways() {
    let bed = Bed::start().await;
    let bridge = bed.bridge();
    bed.cluster.bridges(1, true).await;
    let (worker, other) = (bed.worker().await, bed.worker().await);
    bed.heard(&worker).await;
    bed.heard(&other).await;
    for seq in 1..=BURST {
        worker.say(&report(seq)).await;
    }
    eventually("every report", || {
        let seqs = bed.reports(&worker);
        if seqs.len() as u64 == BURST {
            Ok(())
        } else {
            Err(format!("{} of {BURST}", seqs.len()))
        }
    })
    .await;
    assert!(bed.reports(&worker).into_iter().eq(1..=BURST), "in order");

    // Down in batches that a worker's subscription holds even if it reads nothing meanwhile.
    let id = worker.id.to_string();
    for batch in 0..10 {
        for seq in batch * 300 + 1..=(batch + 1) * 300 {
            bed.cluster.tell(&id, Some(ack(seq)));
        }
        worker
            .sees("a batch", |events| {
                acks(events).last() == Some(&((batch + 1) * 300))
            })
            .await;
    }
    assert!(worker.acks().into_iter().eq(1..=3000), "in order");
    assert_eq!(bridge.counters.commands.total(), 3000);
    assert_eq!(other.acks(), Vec::<u64>::new(), "not its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_are_coalesced_and_the_newest_arrives() {
    let bed = Bed::start().await;
    let bridge = bed.bridge();
    bed.cluster.bridges(1, true).await;
    let worker = bed.worker().await;
    bed.heard(&worker).await;
    let began = Instant::now();
    for cpu in 1..=2000 {
        worker.say(&sample(cpu)).await;
    }
    eventually("the newest sample", || {
        let samples = bed.samples(&worker);
        if samples.last() == Some(&2000) {
            Ok(())
        } else {
            Err(format!("{samples:?}"))
        }
    })
    .await;
    let intervals = began.elapsed().as_millis() / bed.telemetry_interval.as_millis();
    let samples = bed.samples(&worker);
    // One a flush, and a flush may fall on each end of the time.
    assert!(
        samples.len() as u128 <= intervals + 2,
        "{} in {intervals} intervals",
        samples.len()
    );
    assert!(samples.is_sorted(), "{samples:?}");
    assert_eq!(bridge.counters.samples.total(), 2000);
    assert_eq!(bridge.counters.samples_sent.total(), samples.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_message_passes_and_a_larger_one_is_refused_where_it_is_published() {
    let bed = Bed::start().await;
    let bridge = bed.bridge();
    bed.cluster.bridges(1, true).await;
    let worker = bed.worker().await;
    bed.heard(&worker).await;

    let up = |bytes: usize| {
        let entry = InstanceReport {
            output_tail: vec![7; bytes],
            ..InstanceReport::default()
        };
        let report = Report {
            seq: 1,
            entries: vec![entry],
            ..Report::default()
        };
        ChildMessage {
            message: Some(child_message::Message::Report(report)),
        }
    };
    let overhead = prost::Message::encoded_len(&up(MAX_PAYLOAD - 100)) - (MAX_PAYLOAD - 100);
    let refused = worker.bus.publish(&up(MAX_PAYLOAD - overhead + 1)).await;
    assert!(
        matches!(refused, Err(PublishError::TooLarge { size, .. }) if size == MAX_PAYLOAD + 1),
        "{refused:?}"
    );
    worker.say(&up(MAX_PAYLOAD - overhead)).await;
    eventually("the largest report", || {
        match bed.reports(&worker).as_slice() {
            [1] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    let down = |bytes: usize| {
        let specs = vec![Spec {
            hash: Vec::new(),
            body: vec![7; bytes],
        }];
        let snapshot = Snapshot {
            specs,
            ..Snapshot::default()
        };
        Some(ParentMessage {
            session_epoch: 1,
            message: Some(parent_message::Message::Snapshot(snapshot)),
        })
    };
    let id = worker.id.to_string();
    bed.cluster.tell(&id, down(MAX_PAYLOAD));
    bed.cluster.tell(&id, None);
    bed.cluster.tell("*", Some(ack(1)));
    bed.cluster.tell(&id, Some(ack(2)));
    worker
        .sees("what came after", |events| acks(events) == [2])
        .await;
    assert_eq!(bridge.counters.commands_failed.total(), 1);
    assert_eq!(bridge.counters.malformed.total(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_hands_over_what_the_bridge_holds() {
    let bed = Bed::start().await;
    let bridge = bed.bridge();
    bed.cluster.bridges(1, true).await;
    let worker = bed.worker().await;
    bed.heard(&worker).await;
    bed.cluster.read(false);
    let before = bridge.counters.reports.total();
    for seq in 1..=500 {
        worker.say(&report(seq)).await;
    }
    eventually("every report in the bridge", || {
        let held = bridge.counters.reports.total() - before;
        if held == 500 {
            Ok(())
        } else {
            Err(format!("{held}"))
        }
    })
    .await;
    let ended = bridge.stop();
    bed.cluster.read(true);
    ended.await.unwrap().unwrap();
    assert!(
        bed.reports(&worker).into_iter().eq(1..=500),
        "{:?}",
        bed.reports(&worker)
    );
}
