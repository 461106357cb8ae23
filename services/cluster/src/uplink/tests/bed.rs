//! A cluster with its uplink and engine, and a clock that is set by hand.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use edgeio_domain::{
    child::{Accepted, Bucket, Capacity, Child, ChildState},
    ids::{AppUid, AssignmentId, AttachId, ChildId, IdSource, Lineage, SlotId},
    lifecycle::Phase,
    name::Name,
    records::{Assignment, Desired, Owner, Refusal, Slot},
    resources::Resources,
    time::{Clock, Time},
};
use edgeio_link::{child::Identity, convert, spec};
use edgeio_proto::{
    api,
    link::v1::{self, child_message, parent_message::Message},
};
use edgeio_store::{AssignmentFilter, MemoryStore, SlotFilter, Store, Write};
use edgeio_tier::{
    context::{Context, Times},
    engine::Engine,
};
use uuid::Uuid;

use crate::uplink::Uplink;

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn wall(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
    fn boot(&self) -> Time {
        self.wall()
    }
}

struct Counter(AtomicU64);

impl IdSource for Counter {
    fn next(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

pub(super) struct Bed {
    pub(super) store: Arc<MemoryStore>,
    clock: Arc<HandClock>,
    context: Context,
    engine: Engine,
    uplink: Uplink,
    /// The root's database, and what it has sent.
    pub(super) root: Accepted,
    session: u64,
    reports: u64,
    /// What the root has in common with the cluster.
    pub(super) features: Vec<String>,
    /// What was told at the beginning of the session.
    pub(super) first: Vec<v1::Report>,
}

pub(super) fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub(super) fn slot_id(n: u128) -> SlotId {
    SlotId(uuid(n))
}

/// The spec that every order has.
pub(super) fn body() -> Vec<u8> {
    let spec = api::v1::ServiceSpec {
        name: "front".to_owned(),
        command: vec!["sleep".to_owned()],
        resources: Some(api::v1::ResourceSpec {
            cpu: "1".to_owned(),
            memory: String::new(),
        }),
        ..Default::default()
    };
    spec::encode(&spec).1
}

/// An order of the root for a replica of application `web`.
pub(super) fn order(n: u128, generation: u64, desired: v1::Desired) -> v1::Assignment {
    v1::Assignment {
        id: uuid(n).to_string(),
        slot_id: uuid(n + 500).to_string(),
        generation,
        desired: desired.into(),
        spec_hash: edgeio_domain::ids::SpecHash::of(&body()).0.to_vec(),
        namespace: "default".to_owned(),
        application: "web".to_owned(),
        application_uid: AppUid(uuid(900)).to_string(),
        service: "front".to_owned(),
        ordinal: u32::try_from(n % 100).unwrap(),
        ..Default::default()
    }
}

pub(super) fn run(n: u128) -> v1::Assignment {
    order(n, 1, v1::Desired::Run)
}

pub(super) fn stop(n: u128) -> v1::Assignment {
    order(n, 2, v1::Desired::Stop)
}

impl Bed {
    pub(super) async fn new() -> Self {
        let clock = Arc::new(HandClock(AtomicI64::new(1_700_000_000_000)));
        let store = Arc::new(MemoryStore::new(Lineage(uuid(2)), clock.clone()));
        let context = Context {
            store: store.clone(),
            clock: clock.clone(),
            ids: Arc::new(Counter(AtomicU64::new(100_000))),
            replica: Uuid::from_u128(1),
            own: Owner::Cluster(ChildId(uuid(7))),
            noun: "worker",
            times: Times::default(),
        };
        let mut bed = Self {
            uplink: Uplink::open(context.clone(), me()).await.unwrap(),
            engine: Engine::new(context.clone()),
            store,
            clock,
            context,
            root: Accepted {
                lineage: Lineage(uuid(1)),
                issuer_epoch: 1,
                revision: 10,
            },
            session: 0,
            reports: 0,
            features: Vec::new(),
            first: Vec::new(),
        };
        bed.attach().await;
        bed
    }

    /// The cluster's process is started again and attaches.
    pub(super) async fn restart(&mut self) {
        self.uplink = Uplink::open(self.context.clone(), me()).await.unwrap();
        self.attach().await;
    }

    /// Opens a session with the root, whatever database it has now.
    pub(super) async fn attach(&mut self) {
        self.session += 1;
        self.reports = 0;
        let attempt = AttachId(uuid(u128::from(self.session)));
        self.uplink.connect(attempt);
        let said = self.uplink.poll().await.unwrap();
        assert!(matches!(
            said[0].message,
            Some(child_message::Message::Hello(_))
        ));
        self.hear(Message::Welcome(v1::Welcome {
            protocol: edgeio_link::PROTOCOL,
            attach_id: attempt.to_string(),
            lineage: self.root.lineage.to_string(),
            issuer_epoch: self.root.issuer_epoch,
            report_interval_ms: 15_000,
            features: self.features.clone(),
            ..Default::default()
        }))
        .await;
        self.first = self.reports().await;
        assert!(self.first[0].full);
    }

    pub(super) async fn hear(&mut self, body: Message) {
        let message = v1::ParentMessage {
            session_epoch: self.session,
            message: Some(body),
        };
        self.uplink.receive(message).await.unwrap();
    }

    pub(super) async fn snapshot(&mut self, entries: Vec<v1::Assignment>) {
        self.root.revision += 1;
        let body = body();
        self.hear(Message::Snapshot(v1::Snapshot {
            lineage: self.root.lineage.to_string(),
            issuer_epoch: self.root.issuer_epoch,
            revision: self.root.revision,
            entries,
            specs: vec![v1::Spec {
                hash: edgeio_domain::ids::SpecHash::of(&body).0.to_vec(),
                body,
            }],
            chunks: 1,
            ..Default::default()
        }))
        .await;
    }

    pub(super) async fn delta(&mut self, entries: Vec<v1::Assignment>) {
        let from_revision = self.root.revision;
        self.root.revision += 1;
        self.hear(Message::Delta(v1::Delta {
            lineage: self.root.lineage.to_string(),
            issuer_epoch: self.root.issuer_epoch,
            from_revision,
            to_revision: self.root.revision,
            entries,
            chunks: 1,
            ..Default::default()
        }))
        .await;
    }

    /// What the cluster says now.
    pub(super) async fn reports(&mut self) -> Vec<v1::Report> {
        let report = |m: v1::ChildMessage| match m.message {
            Some(child_message::Message::Report(report)) => Some(report),
            _ => None,
        };
        let said = self.uplink.poll().await.unwrap();
        let reports: Vec<_> = said.into_iter().filter_map(report).collect();
        self.reports += reports.len() as u64;
        reports
    }

    /// What the cluster says now of one slot.
    pub(super) async fn state(&mut self, n: u128) -> v1::InstanceReport {
        let reports = self.reports().await;
        let entries = reports.into_iter().flat_map(|r| r.entries);
        let mut found: Vec<_> = entries.filter(|e| e.id == uuid(n).to_string()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// What the cluster says now of one slot, if there is anything to say.
    pub(super) async fn state_or_none(&mut self, n: u128) -> Option<v1::InstanceReport> {
        let reports = self.reports().await;
        let mut entries = reports.into_iter().flat_map(|r| r.entries);
        entries.rfind(|e| e.id == uuid(n).to_string())
    }

    /// The worker has refused what was placed for a slot, for that many times in a row, and it is gone.
    pub(super) async fn refused(&self, worker: ChildId, n: u128, times: u32) {
        let mut slot = self.slot(n).await.unwrap();
        let refusal = Refusal {
            child: worker,
            message: "no more today".to_owned(),
            until: self.wall() + self.context.times.refusal_wait(times),
            times,
        };
        slot.refusals = vec![refusal];
        let gone = self.instances().await.into_iter();
        let mut writes = vec![Write::PutSlot(slot)];
        writes.extend(gone.map(|a| Write::DeleteAssignment(a.id)));
        self.write(writes).await;
    }

    /// The root has recorded all that was said.
    pub(super) async fn recorded(&mut self) {
        let recorded_seq = self.reports;
        self.hear(Message::Ack(v1::Ack {
            recorded_seq,
            newest_order: None,
        }))
        .await;
    }

    pub(super) fn wait(&self, millis: i64) {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) fn wall(&self) -> Time {
        self.clock.wall()
    }

    pub(super) async fn write(&self, writes: impl IntoIterator<Item = Write>) {
        let mut tx = self.store.write().await.unwrap();
        for write in writes {
            tx.stage(write);
        }
        tx.commit().await.unwrap();
    }

    pub(super) async fn plan(&self) {
        self.engine.run_once().await.unwrap();
    }

    /// A worker that is ready and has so many cores and GiB.
    pub(super) async fn worker(&self, n: u128, cores: i64, gib: i64) -> ChildId {
        let id = ChildId(uuid(n));
        let room = Resources {
            cpu_millis: cores * 1000,
            memory_bytes: gib << 30,
        };
        let child = Child {
            id,
            name: Some(Name::from_any(&format!("w{n}"))),
            state: ChildState::Ready,
            capacity: Capacity {
                workers: 1,
                allocatable: room,
                free: room,
                buckets: vec![Bucket {
                    architecture: "amd64".to_owned(),
                    runtimes: vec!["process".to_owned()],
                    workers: 1,
                    free: room,
                    largest: room,
                }],
                includes_revision: 0,
            },
            ..Default::default()
        };
        self.write([Write::PutChild(child)]).await;
        id
    }

    pub(super) async fn context_child(&self, id: ChildId) -> Child {
        let tx = self.context.store.read().await.unwrap();
        tx.child(id).await.unwrap().unwrap()
    }

    pub(super) async fn slots(&self) -> Vec<Slot> {
        let tx = self.store.read().await.unwrap();
        tx.slots(&SlotFilter::default()).await.unwrap()
    }

    pub(super) async fn slot(&self, n: u128) -> Option<Slot> {
        let slots = self.slots().await;
        slots.into_iter().find(|s| s.id == slot_id(n))
    }

    pub(super) async fn instances(&self) -> Vec<Assignment> {
        let tx = self.store.read().await.unwrap();
        tx.assignments(&AssignmentFilter::default()).await.unwrap()
    }

    /// What workers report of every instance.
    pub(super) async fn all_are(&self, phase: Phase) {
        let writes = self.instances().await.into_iter().map(|mut assignment| {
            assignment.observed.phase = phase;
            assignment.observed.generation = assignment.generation;
            Write::PutAssignment {
                assignment,
                ordered: false,
            }
        });
        self.write(writes.collect::<Vec<_>>()).await;
    }

    /// Workers stop what they are told to stop, and say so.
    pub(super) async fn workers_stop(&self) {
        let gone = self.instances().await.into_iter();
        let gone = gone.filter(|a| a.desired == Desired::Stop);
        self.write(
            gone.map(|a| Write::DeleteAssignment(a.id))
                .collect::<Vec<_>>(),
        )
        .await;
    }

    /// A worker tells of an instance that the database does not know: it is held.
    pub(super) async fn found(&self, worker: ChildId, instance: u128, n: u128) {
        let slot = self.slot(n).await.unwrap();
        let assignment = Assignment {
            id: AssignmentId(uuid(instance)),
            slot: slot.id,
            app: slot.app,
            app_uid: slot.app_uid,
            service: slot.service,
            ordinal: slot.ordinal,
            child: worker,
            generation: 1,
            desired: Desired::Hold,
            restart_count: 0,
            spec_hash: slot.spec_hash,
            demand: slot.demand,
            observed: edgeio_domain::records::Observed {
                phase: Phase::Running,
                generation: 1,
                ..Default::default()
            },
            created_at: self.wall(),
            order_revision: 0,
            revision: 0,
        };
        self.write([Write::PutAssignment {
            assignment,
            ordered: false,
        }])
        .await;
    }
}

pub(super) fn recorded(n: u128, worker: ChildId) -> Option<v1::Incarnation> {
    Some(v1::Incarnation {
        instance_id: uuid(n).to_string(),
        worker_id: worker.to_string(),
        worker_name: String::new(),
    })
}

pub(super) fn phase(report: &v1::InstanceReport) -> Phase {
    convert::phase_from_wire(report.phase).unwrap()
}

fn me() -> Identity {
    Identity {
        id: ChildId(uuid(7)),
        version: String::new(),
        boot_id: String::new(),
    }
}
