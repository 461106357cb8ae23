//! A whole worker against a real nats-server: registration, orders over the bus, adoption after a restart, leaving.
//!
//! The cluster is the few lines here that a worker needs of one; the real one meets it in the integration tests.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is its report")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use edgeio_bridge::{
    broker::{self, Broker},
    bus::{BridgeBus, BusEvent, nats::NatsBridgeBus},
};
use edgeio_link::{PROTOCOL, spec};
use edgeio_proto::{
    api,
    cluster::v1::{
        ApproveRequest, ApproveResponse, FenceRequest, FenceResponse, ForgetRequest,
        ForgetResponse, GetRequest, GetResponse, LeaveRequest, LeaveResponse, ListRequest,
        ListResponse, RegisterRequest, RegisterResponse, ReleaseRequest, ReleaseResponse,
        worker_service_server::{WorkerService, WorkerServiceServer},
    },
    link::v1::{self, child_message, parent_message},
};
use edgeio_worker::{
    Config, LeaveConfig, RunError, RunOptions,
    config::EngineChoice,
    leave, run_with,
    runtime::fake::{FakeEngine, FakeRuntime, Op},
};
use futures::StreamExt as _;
use prost::Message as _;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(0xc);
const WORKER: Uuid = Uuid::from_u128(0xa);

/// What the cluster has heard, and what it wants.
#[derive(Default)]
struct Books {
    registrations: Vec<RegisterRequest>,
    leaves: Vec<LeaveRequest>,
    /// Newest report of each instance.
    instances: BTreeMap<String, v1::InstanceReport>,
    hellos: Vec<v1::Hello>,
    telemetry: usize,
    epoch: u64,
    orders: Vec<v1::Assignment>,
    specs: Vec<v1::Spec>,
    revision: u64,
    /// The worker is not known any more.
    forgotten: bool,
}

#[derive(Clone)]
struct Cluster {
    books: Arc<Mutex<Books>>,
    broker: SocketAddr,
    bus: Arc<NatsBridgeBus>,
}

impl Cluster {
    async fn start(broker: &Broker) -> (Self, String) {
        let bus = NatsBridgeBus::connect(&broker.url(), Uuid::nil())
            .await
            .unwrap();
        let cluster = Self {
            books: Arc::default(),
            broker: broker.address(),
            bus: Arc::new(bus),
        };
        let mut events = cluster
            .bus
            .join(CLUSTER, CancellationToken::new())
            .await
            .unwrap();
        let hearing = cluster.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let BusEvent::Message(from) = event {
                    assert_eq!(from.worker, WORKER);
                    let message = v1::ChildMessage::decode(from.payload).unwrap();
                    for answer in hearing.hear(message) {
                        hearing.tell(answer).await;
                    }
                }
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = WorkerServiceServer::new(cluster.clone());
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        (cluster, address)
    }

    async fn tell(&self, (epoch, body): (u64, parent_message::Message)) {
        let message = v1::ParentMessage {
            session_epoch: epoch,
            message: Some(body),
        };
        // A broker that is away is part of the tests; the link makes up for it.
        let _ = self
            .bus
            .control(CLUSTER, WORKER, message.encode_to_vec().into())
            .await;
    }

    fn hear(&self, message: v1::ChildMessage) -> Vec<(u64, parent_message::Message)> {
        let mut books = self.books.lock().unwrap();
        match message.message.unwrap() {
            child_message::Message::Hello(hello) => {
                let repeated = books.hellos.last().map(|h| &h.attach_id) == Some(&hello.attach_id);
                if !repeated {
                    books.epoch += 1;
                }
                let welcome = v1::Welcome {
                    protocol: PROTOCOL,
                    lineage: CLUSTER.to_string(),
                    issuer_epoch: 1,
                    attach_id: hello.attach_id.clone(),
                    report_interval_ms: 500,
                    ..Default::default()
                };
                books.hellos.push(hello);
                vec![(books.epoch, parent_message::Message::Welcome(welcome))]
            }
            child_message::Message::Report(report) if books.forgotten => {
                let refusal = v1::Refusal {
                    reason: v1::RefusalReason::UnknownChild.into(),
                    message: "forgotten".into(),
                };
                vec![(
                    report.session_epoch,
                    parent_message::Message::Refusal(refusal),
                )]
            }
            child_message::Message::Report(report) => {
                for entry in report.entries {
                    books.instances.insert(entry.id.clone(), entry);
                }
                let ack = v1::Ack {
                    recorded_seq: report.seq,
                    newest_order: None,
                };
                let mut out = vec![(report.session_epoch, parent_message::Message::Ack(ack))];
                let applied = report.applied.map_or(0, |a| a.revision);
                if applied < books.revision {
                    let snapshot = v1::Snapshot {
                        lineage: CLUSTER.to_string(),
                        issuer_epoch: 1,
                        revision: books.revision,
                        entries: books.orders.clone(),
                        specs: books.specs.clone(),
                        chunk: 0,
                        chunks: 1,
                    };
                    out.push((
                        report.session_epoch,
                        parent_message::Message::Snapshot(snapshot),
                    ));
                }
                out
            }
            child_message::Message::Telemetry(_) => {
                books.telemetry += 1;
                Vec::new()
            }
        }
    }

    /// Changes what is wanted. The worker learns of it with its next report.
    fn order(&self, id: Uuid, generation: u64, desired: v1::Desired, args: &[&str]) {
        let (hash, body) = spec::encode(&api::v1::ServiceSpec {
            name: "web".into(),
            runtime: "fake".into(),
            image: "web:1".into(),
            args: args.iter().map(ToString::to_string).collect(),
            ..Default::default()
        });
        let mut books = self.books.lock().unwrap();
        books.orders.retain(|order| order.id != id.to_string());
        books.orders.push(v1::Assignment {
            id: id.to_string(),
            slot_id: Uuid::from_u128(1).to_string(),
            generation,
            desired: desired.into(),
            spec_hash: hash.0.to_vec(),
            application: "shop".into(),
            service: "web".into(),
            ..Default::default()
        });
        books.specs = vec![v1::Spec {
            hash: hash.0.to_vec(),
            body,
        }];
        books.revision += 1;
    }

    fn phase(&self, id: Uuid) -> Option<v1::Phase> {
        let books = self.books.lock().unwrap();
        books
            .instances
            .get(&id.to_string())
            .map(v1::InstanceReport::phase)
    }

    fn look<T>(&self, look: impl FnOnce(&Books) -> T) -> T {
        look(&self.books.lock().unwrap())
    }
}

#[tonic::async_trait]
impl WorkerService for Cluster {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let mut books = self.books.lock().unwrap();
        books.registrations.push(request.into_inner());
        books.forgotten = false;
        Ok(Response::new(RegisterResponse {
            worker_id: WORKER.to_string(),
            credential: "proof".into(),
            cluster_id: CLUSTER.to_string(),
            cluster_name: "c".into(),
            name: "w".into(),
            broker_address: self.broker.ip().to_string(),
            broker_port: self.broker.port().into(),
            report_interval_ms: 500,
            telemetry_interval_ms: 200,
            broker_pass: None,
        }))
    }

    async fn leave(
        &self,
        request: Request<LeaveRequest>,
    ) -> Result<Response<LeaveResponse>, Status> {
        let request = request.into_inner();
        let mut books = self.books.lock().unwrap();
        books.forgotten = request.keep;
        books.leaves.push(request);
        Ok(Response::new(LeaveResponse { remaining: 1 }))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Err(Status::internal("not asked by workers"))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::internal("not asked by workers"))
    }

    async fn forget(&self, _: Request<ForgetRequest>) -> Result<Response<ForgetResponse>, Status> {
        Err(Status::internal("not asked by workers"))
    }

    async fn release(
        &self,
        _: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        Err(Status::internal("not asked by workers"))
    }

    async fn approve(
        &self,
        _: Request<ApproveRequest>,
    ) -> Result<Response<ApproveResponse>, Status> {
        Err(Status::not_found("nobody asks"))
    }

    async fn fence(&self, _: Request<FenceRequest>) -> Result<Response<FenceResponse>, Status> {
        Err(Status::internal("not asked by workers"))
    }
}

struct Worker {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
}

impl Worker {
    fn start(cluster: &str, dir: &Path, engine: &Arc<FakeEngine>, stop_jobs_on_exit: bool) -> Self {
        let config = Config {
            cluster: cluster.to_owned(),
            data_dir: dir.to_owned(),
            docker: EngineChoice::Off,
            containerd: EngineChoice::Off,
            capacity: BTreeMap::from([("cpu".to_owned(), "1500m".to_owned())]),
            ..Config::default()
        };
        let options = RunOptions {
            stop_jobs_on_exit,
            runtimes: vec![Arc::new(FakeRuntime::new(engine.clone()))],
            ..RunOptions::default()
        };
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(run_with(config, options, async move {
            let _ = stopped.await;
        }));
        Self { stop, running }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap();
    }
}

async fn broker(dir: &Path) -> Broker {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Broker::start(&broker::find().unwrap(), any, dir)
        .await
        .unwrap()
}

/// Waits until something holds; prints what was seen last otherwise.
async fn eventually<T: std::fmt::Debug>(
    what: &str,
    mut look: impl FnMut() -> T,
    is: impl Fn(&T) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let seen = look();
        if is(&seen) {
            return;
        }
        assert!(Instant::now() < deadline, "not {what}; seen last: {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn starts(engine: &FakeEngine) -> usize {
    let starts = |op: &&(Op, _)| matches!(op.0, Op::Create | Op::Start | Op::Restart);
    engine.log().iter().filter(starts).count()
}

#[tokio::test]
async fn a_worker_joins_runs_survives_and_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("worker");
    let mut broker = broker(&dir.path().join("broker")).await;
    let (cluster, address) = Cluster::start(&broker).await;
    let engine = Arc::new(FakeEngine::default());
    let worker = Worker::start(&address, &data, &engine, false);
    let (job, crashing) = (Uuid::now_v7(), Uuid::now_v7());

    // It says what it is and has.
    eventually("attached", || cluster.look(|b| b.hellos.len()), |n| *n > 0).await;
    cluster.look(|books| {
        let said = &books.registrations[0];
        let inventory = said.inventory.clone().unwrap();
        assert!(said.public_key.starts_with('U') && said.credential.is_empty());
        assert!(
            inventory.cores > 0 && inventory.memory_bytes > 0 && !inventory.architecture.is_empty()
        );
        assert_eq!(inventory.runtimes[0].name, "fake");
        assert_eq!(said.capacity.unwrap().cpu_millis, 1500);
        let capacity = books.hellos[0].capacity.clone().unwrap();
        assert_eq!(capacity.buckets[0].runtimes, ["fake"]);
        assert_eq!(capacity.free.unwrap().cpu_millis, 1500);
    });

    // It runs what it is told, and says how that fares.
    cluster.order(job, 1, v1::Desired::Run, &[]);
    eventually(
        "running",
        || cluster.phase(job),
        |p| *p == Some(v1::Phase::Running),
    )
    .await;
    cluster.order(
        crashing,
        1,
        v1::Desired::Run,
        &["print", "oh no", "exit", "7"],
    );
    let crashed = || cluster.look(|b| b.instances.get(&crashing.to_string()).cloned());
    eventually("crashed", crashed, |report| {
        report
            .as_ref()
            .is_some_and(|r| r.exit_code == Some(7) && r.output_tail == b"oh no\n")
    })
    .await;
    eventually("sampled", || cluster.look(|b| b.telemetry), |n| *n > 2).await;

    // A second agent on the same directory is refused.
    let twin = Worker::start(&address, &data, &engine, false);
    let refused = twin.running.await.unwrap().unwrap_err();
    assert!(matches!(refused, RunError::Ledger(_)), "{refused:?}");

    // The broker goes and comes: the job does not notice, the session is opened anew.
    cluster.order(crashing, 2, v1::Desired::Stop, &[]);
    eventually(
        "stopped",
        || cluster.phase(crashing),
        |p| *p == Some(v1::Phase::Stopped),
    )
    .await;
    let (before, sessions) = (engine.instances(), cluster.look(|b| b.epoch));
    broker.kill().await;
    broker.restart().await.unwrap();
    eventually(
        "back",
        || cluster.look(|b| b.epoch),
        |epoch| *epoch > sessions,
    )
    .await;
    assert_eq!(engine.instances(), before);

    // So does the agent: what runs is adopted, under the same identity.
    worker.stop().await;
    assert_eq!(engine.instances(), before);
    let started = starts(&engine);
    let (sessions, registrations) = cluster.look(|b| (b.epoch, b.registrations.len()));
    let worker = Worker::start(&address, &data, &engine, false);
    eventually(
        "back",
        || cluster.look(|b| b.epoch),
        |epoch| *epoch > sessions,
    )
    .await;
    eventually(
        "told again",
        || cluster.look(|b| b.registrations.len()),
        |n| *n > registrations,
    )
    .await;
    cluster.look(|books| {
        let (first, last) = (&books.registrations[0], books.registrations.last().unwrap());
        assert_eq!(first.public_key, last.public_key);
        assert_eq!(last.credential, "proof");
    });
    assert_eq!(
        (engine.instances(), starts(&engine)),
        (before.clone(), started)
    );

    // It leaves without its jobs, and does not come back by itself.
    let config = LeaveConfig {
        cluster: address.clone(),
        data_dir: data.clone(),
        keep: true,
        ..LeaveConfig::default()
    };
    let registrations = cluster.look(|b| b.registrations.len());
    leave(config).await.unwrap();
    cluster.look(|b| assert_eq!(b.leaves[0].worker_id, WORKER.to_string()));
    worker.running.await.unwrap().unwrap();
    assert_eq!(cluster.look(|b| b.registrations.len()), registrations);
    assert_eq!(engine.instances(), before);
    broker.stop().await;
}

#[tokio::test]
async fn jobs_do_not_wait_for_a_cluster_and_end_with_a_program_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("worker");
    let broker = broker(&dir.path().join("broker")).await;
    let (cluster, address) = Cluster::start(&broker).await;
    let engine = Arc::new(FakeEngine::default());
    let worker = Worker::start(&address, &data, &engine, false);
    let job = Uuid::now_v7();
    cluster.order(job, 1, v1::Desired::Run, &[]);
    eventually(
        "running",
        || cluster.phase(job),
        |p| *p == Some(v1::Phase::Running),
    )
    .await;
    worker.stop().await;
    broker.stop().await;

    // The machine reboots, and there is no network.
    engine.reboot();
    let nobody = "127.0.0.1:9";
    let worker = Worker::start(nobody, &data, &engine, true);
    let running = |engine: &FakeEngine| {
        let all = engine.instances();
        all.iter()
            .filter(|o| matches!(o.state, edgeio_worker::runtime::State::Running { .. }))
            .count()
    };
    let alive = || (running(&engine), worker.running.is_finished());
    eventually("running again", alive, |(n, _)| *n == 1).await;

    worker.stop().await;
    assert_eq!(engine.instances(), []);
}
