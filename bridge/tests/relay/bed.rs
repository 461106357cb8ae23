//! The parts of a test and how they are put together.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use edgeio_bridge::broker::{self, Broker};
use edgeio_bridge::bus::nats::NatsWorkerBus;
use edgeio_bridge::bus::{BusEvent, Pass, WorkerBus as _};
use edgeio_bridge::relay::{Counters, Relay};
use edgeio_bridge::{Config, RunError};
use edgeio_proto::link::v1::{
    ChildMessage, Hello, ParentMessage, Report, Telemetry, child_message, parent_message,
};
use futures::StreamExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::cluster::Cluster;

/// Polls until `look` is content; panics with what it saw last. The deadline only bounds a failing test.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) if Instant::now() > deadline => panic!("not seen: {what}; last: {last}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A broker, a cluster, and whatever bridges and workers a test adds.
pub(crate) struct Bed {
    pub(crate) id: Uuid,
    pub(crate) broker: Broker,
    pub(crate) cluster: Cluster,
    /// How often bridges send samples on.
    pub(crate) telemetry_interval: Duration,
    _dir: tempfile::TempDir,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let binary = broker::find().unwrap_or_else(|error| panic!("{error}"));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let broker = Broker::start(&binary, any, dir.path()).await.unwrap();
        let id = Uuid::new_v4();
        let cluster = Cluster::start(id).await;
        let telemetry_interval = Duration::from_millis(200);
        Self {
            id,
            broker,
            cluster,
            telemetry_interval,
            _dir: dir,
        }
    }

    /// A bridge that runs, perhaps not attached yet.
    pub(crate) fn bridge(&self) -> Bridge {
        let relay = Relay::new(Config {
            cluster: format!("http://{}", self.cluster.address),
            nats: self.broker.url(),
            telemetry_interval: self.telemetry_interval,
            ..Config::default()
        });
        let counters = relay.counters();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(relay.run(async move {
            let _ = stopped.await;
        }));
        Bridge {
            counters,
            stop,
            task,
        }
    }

    /// A worker that is connected to the broker.
    pub(crate) async fn worker(&self) -> Worker {
        let id = Uuid::now_v7();
        let (bus, mut events) =
            NatsWorkerBus::connect(&self.broker.url(), self.id, id, &Pass::new())
                .await
                .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                notes.lock().unwrap().push(event);
            }
        });
        let worker = Worker { id, bus, seen };
        worker
            .sees("the broker", |events| events.contains(&BusEvent::Connected))
            .await;
        worker
    }

    /// Waits until what `worker` says arrives: its hellos do no harm when they are lost or arrive twice.
    pub(crate) async fn heard(&self, worker: &Worker) {
        let id = worker.id.to_string();
        let before = self.cluster.seen().up.len();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.cluster.seen().up[before..]
            .iter()
            .any(|(_, from, _)| *from == id)
        {
            assert!(Instant::now() < deadline, "worker {id} is not heard");
            // Refused while the broker is away, which is what some tests make of it.
            let _ = worker.bus.publish(&hello(&id)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The seq of every report that arrived from `worker`, in order of arrival.
    pub(crate) fn reports(&self, worker: &Worker) -> Vec<u64> {
        let id = worker.id.to_string();
        let seen = self.cluster.seen();
        let reports = seen.up.iter().filter(|(_, from, _)| *from == id);
        reports
            .filter_map(|(_, _, message)| match &message.message {
                Some(child_message::Message::Report(report)) => Some(report.seq),
                _ => None,
            })
            .collect()
    }

    /// The CPU of every sample that arrived from `worker`.
    pub(crate) fn samples(&self, worker: &Worker) -> Vec<i64> {
        let id = worker.id.to_string();
        let seen = self.cluster.seen();
        let samples = seen.up.iter().filter(|(_, from, _)| *from == id);
        samples
            .filter_map(|(_, _, message)| match &message.message {
                Some(child_message::Message::Telemetry(sample)) => Some(sample.cpu_millis),
                _ => None,
            })
            .collect()
    }
}

pub(crate) struct Bridge {
    pub(crate) counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Bridge {
    /// Asks it to stop; the handle ends when it has.
    pub(crate) fn stop(self) -> JoinHandle<Result<(), RunError>> {
        self.stop.send(()).expect("it runs");
        self.task
    }
}

pub(crate) struct Worker {
    pub(crate) id: Uuid,
    pub(crate) bus: NatsWorkerBus,
    seen: Arc<Mutex<Vec<BusEvent<ParentMessage>>>>,
}

impl Worker {
    pub(crate) async fn say(&self, message: &ChildMessage) {
        self.bus.publish(message).await.unwrap();
    }

    /// Waits for something among all events so far.
    pub(crate) async fn sees(&self, what: &str, is: impl Fn(&[BusEvent<ParentMessage>]) -> bool) {
        eventually(what, || {
            let seen = self.seen.lock().unwrap();
            let tail = &seen[seen.len().saturating_sub(5)..];
            if is(&seen) {
                Ok(())
            } else {
                Err(format!("{} events, {tail:?}", seen.len()))
            }
        })
        .await;
    }

    /// The acknowledged seqs among the events so far.
    pub(crate) fn acks(&self) -> Vec<u64> {
        acks(&self.seen.lock().unwrap())
    }
}

/// The acknowledged seqs among `events`.
pub(crate) fn acks(events: &[BusEvent<ParentMessage>]) -> Vec<u64> {
    let seqs = events.iter().filter_map(|event| match event {
        BusEvent::Message(ParentMessage {
            message: Some(parent_message::Message::Ack(ack)),
            ..
        }) => Some(ack.recorded_seq),
        _ => None,
    });
    seqs.collect()
}

pub(crate) fn hello(id: &str) -> ChildMessage {
    let hello = Hello {
        child_id: id.to_owned(),
        ..Hello::default()
    };
    ChildMessage {
        message: Some(child_message::Message::Hello(hello)),
    }
}

pub(crate) fn report(seq: u64) -> ChildMessage {
    let report = Report {
        seq,
        ..Report::default()
    };
    ChildMessage {
        message: Some(child_message::Message::Report(report)),
    }
}

pub(crate) fn sample(cpu_millis: i64) -> ChildMessage {
    let sample = Telemetry {
        cpu_millis,
        ..Telemetry::default()
    };
    ChildMessage {
        message: Some(child_message::Message::Telemetry(sample)),
    }
}

pub(crate) fn ack(recorded_seq: u64) -> ParentMessage {
    ParentMessage {
        session_epoch: 1,
        message: Some(parent_message::Message::Ack(edgeio_proto::link::v1::Ack {
            recorded_seq,
            newest_order: None,
        })),
    }
}
