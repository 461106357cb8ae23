//! What is lost and what is not when parts fail, and what strangers send.

use edgeio_bridge::bus::nats::{NatsBridgeBus, NatsWorkerBus};
use edgeio_bridge::bus::{
    BridgeBus as _, BusEvent, MAX_PAYLOAD, Pass, PublishError, WorkerBus as _,
};
use edgeio_bridge::subject::Subject;
use futures::StreamExt as _;
use prost::Message as _;
use uuid::Uuid;

use crate::bed::{Bed, ack, acks, eventually, hello, report, sample};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_comes_back_is_found_again() {
    let mut bed = Bed::start().await;
    let bridge = bed.bridge();
    bed.cluster.bridges(1, true).await;
    let worker = bed.worker().await;
    bed.heard(&worker).await;

    bed.broker.kill().await;
    bed.cluster.bridges(1, false).await;
    worker
        .sees("the loss", |events| {
            events.last() == Some(&BusEvent::Disconnected)
        })
        .await;
    // Nothing waits for the broker: neither what a worker says nor what it is told.
    let refused = worker.bus.publish(&report(1)).await;
    assert!(
        matches!(refused, Err(PublishError::Disconnected { .. })),
        "{refused:?}"
    );
    bed.cluster.tell(&worker.id.to_string(), Some(ack(1)));
    eventually("the command dropped", || {
        match bridge.counters.commands_failed.total() {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;

    bed.broker.restart().await.unwrap();
    bed.cluster.bridges(1, true).await;
    worker
        .sees("the return", |events| {
            events.last() == Some(&BusEvent::Connected)
        })
        .await;
    bed.heard(&worker).await;
    worker.say(&report(2)).await;
    bed.cluster.tell(&worker.id.to_string(), Some(ack(2)));
    worker
        .sees("the command", |events| acks(events) == [2])
        .await;
    eventually("the report", || match bed.reports(&worker).as_slice() {
        [2] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let told = bed.cluster.seen().broker_changes.clone();
    // The first word may be that the broker is not reached yet.
    let told = told.strip_prefix(&[false]).unwrap_or(&told);
    assert_eq!(told, [true, false, true]);
    assert_eq!(
        bridge.counters.attached.total(),
        1,
        "the cluster's stream stood all the time"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_crashes_and_comes_back_is_found_again() {
    let mut bed = Bed::start().await;
    let bridge = bed.bridge();
    bed.cluster.bridges(1, true).await;
    let worker = bed.worker().await;
    bed.heard(&worker).await;

    bed.cluster.crash();
    eventually("a failed attempt to attach", || {
        match bridge.counters.attach_failures.total() {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    bed.cluster.come_back().await;
    bed.cluster.bridges(1, true).await;
    bed.heard(&worker).await;
    bed.cluster.tell(&worker.id.to_string(), Some(ack(7)));
    worker.sees("a command", |events| acks(events) == [7]).await;
    assert_eq!(bridge.counters.attached.total(), 2);
    worker
        .sees("no interruption", |events| {
            !events.contains(&BusEvent::Disconnected) || events[0] == BusEvent::Disconnected
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_without_a_cluster_leaves_the_reports_to_the_others() {
    let bed = Bed::start().await;
    let _there = bed.bridge();
    bed.cluster.bridges(1, true).await;
    let worker = bed.worker().await;
    bed.heard(&worker).await;
    // This one reaches the broker, and of the cluster only an answer that is none.
    bed.cluster.rename("nowhere");
    let lost = bed.bridge();
    eventually("a refusal", || {
        match lost.counters.attach_failures.total() {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    for seq in 1..=200 {
        worker.say(&report(seq)).await;
    }
    eventually("every report", || match bed.reports(&worker) {
        seqs if seqs.iter().copied().eq(1..=200) => Ok(()),
        seqs => Err(format!("{seqs:?}")),
    })
    .await;
    assert_eq!(lost.counters.attached.total(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_publish_is_dropped_and_counted() {
    let bed = Bed::start().await;
    let bridge = bed.bridge();
    bed.cluster.bridges(1, true).await;
    let worker = bed.worker().await;
    bed.heard(&worker).await;
    let before = bed.cluster.seen().up.len();

    let stranger = async_nats::connect(bed.broker.url()).await.unwrap();
    let own = Subject::report(bed.id, worker.id).to_string();
    let samples = Subject::telemetry(bed.id, worker.id).to_string();
    let other = Uuid::new_v4().to_string();
    let hostile: Vec<(String, Vec<u8>)> = vec![
        (own.clone(), vec![0xff; 300]),
        (own.clone(), Vec::new()),
        (own.clone(), vec![0; MAX_PAYLOAD + 1]),
        (own.clone(), hello(&other).encode_to_vec()),
        (own.clone(), sample(1).encode_to_vec()),
        (samples.clone(), report(1).encode_to_vec()),
        (
            own.replace(&worker.id.to_string(), "me"),
            report(2).encode_to_vec(),
        ),
        (
            own.replace(&worker.id.to_string(), &other.to_uppercase()),
            report(3).encode_to_vec(),
        ),
    ];
    let count = hostile.len() as u64;
    for (subject, payload) in hostile {
        stranger.publish(subject, payload.into()).await.unwrap();
    }
    // Another cluster's worker and another channel: these do not even reach the bridge.
    for subject in [
        Subject::report(Uuid::new_v4(), worker.id).to_string(),
        Subject::control(bed.id, worker.id).to_string(),
        "edgeio.report".to_owned(),
    ] {
        stranger
            .publish(subject, report(4).encode_to_vec().into())
            .await
            .unwrap();
    }
    // The good one comes last, on the same connection, so all others have been dealt with when it is there.
    stranger
        .publish(own, report(5).encode_to_vec().into())
        .await
        .unwrap();
    eventually("the good report", || {
        match bed.reports(&worker).as_slice() {
            [5] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    eventually("every bad one counted", || {
        match bridge.counters.malformed.total() {
            total if total == count => Ok(()),
            total => Err(total.to_string()),
        }
    })
    .await;
    assert_eq!(bed.cluster.seen().up.len(), before + 1);
    // A worker drops what is no message too. (What a report decodes to as a command is the link's to judge.)
    stranger
        .publish(
            Subject::control(bed.id, worker.id).to_string(),
            vec![0xff; 9].into(),
        )
        .await
        .unwrap();
    worker
        .sees("a malformed command", |events| {
            matches!(events.last(), Some(BusEvent::Malformed { .. }))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_does_not_read_learns_what_it_lost() {
    let bed = Bed::start().await;
    let id = Uuid::now_v7();
    let (bus, mut events) = NatsWorkerBus::connect(&bed.broker.url(), bed.id, id, &Pass::new())
        .await
        .unwrap();
    while events.next().await != Some(BusEvent::Connected) {}
    bus.publish(&hello(&id.to_string())).await.unwrap();
    bus.flush().await.unwrap();

    let bridge = NatsBridgeBus::connect(&bed.broker.url(), Uuid::new_v4())
        .await
        .unwrap();
    let mut heard = bridge.join(bed.id, Default::default()).await.unwrap();
    while heard.next().await != Some(BusEvent::Connected) {}
    let (mut sent, mut kept, mut lost) = (0_u64, 0_u64, 0_u64);
    while lost == 0 {
        for _ in 0..1000 {
            sent += 1;
            bridge
                .control(bed.id, id, prost::Message::encode_to_vec(&ack(sent)).into())
                .await
                .unwrap();
        }
        // Looks at what is there, without waiting for more.
        let look = std::time::Duration::from_millis(100);
        while let Ok(Some(event)) = tokio::time::timeout(look, events.next()).await {
            match event {
                BusEvent::Message(_) => kept += 1,
                BusEvent::Lost { at_least } => lost += at_least,
                other => panic!("{other:?}"),
            }
        }
        assert!(sent < 100_000, "nothing was lost of {sent}: {kept} kept");
    }
    assert!(kept + lost <= sent, "{kept} kept, {lost} lost of {sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_late_is_found() {
    let mut bed = Bed::start().await;
    bed.broker.kill().await;
    let bridge = bed.bridge();
    bed.cluster.bridges(1, false).await;
    let id = Uuid::now_v7();
    let (_bus, mut events) = NatsWorkerBus::connect(&bed.broker.url(), bed.id, id, &Pass::new())
        .await
        .unwrap();
    assert_eq!(events.next().await, Some(BusEvent::Disconnected));
    bed.broker.restart().await.unwrap();
    assert_eq!(events.next().await, Some(BusEvent::Connected));
    bed.cluster.bridges(1, true).await;
    bridge.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn addresses_without_a_meaning_are_refused_at_the_start() {
    let config = edgeio_bridge::Config {
        cluster: "ftp://c:1".to_owned(),
        ..Default::default()
    };
    let error = edgeio_bridge::run(config, std::future::pending())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("ftp://c:1"), "{error}");
    let config = edgeio_bridge::Config {
        nats: "http://b:1".to_owned(),
        ..Default::default()
    };
    let error = edgeio_bridge::run(config, std::future::pending())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("http://b:1"), "{error}");
}
