//! A hub over a store in memory, with a clock that is set by hand.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use edgeio_domain::{
    child::{Accepted, Child, ChildState},
    digest,
    ids::{AppUid, AssignmentId, AttachId, ChildId, IdSource, Lineage, SlotId, SpecHash},
    lifecycle::Phase,
    name::Name,
    records::{AppKey, Assignment, Desired, Observed, Owner, Slot},
    resources::Resources,
    time::{Clock, Time},
};
use edgeio_link::convert;
use edgeio_proto::link::v1::{self, child_message, parent_message::Message};
use edgeio_store::{AssignmentFilter, MemoryStore, Meta, SlotFilter, Store, Write};
use edgeio_tier::{
    context::{Context, Times},
    engine::Engine,
    hub::{Hub, Outbox},
};
use uuid::Uuid;

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

pub(crate) struct Bed {
    pub(crate) store: Arc<MemoryStore>,
    clock: Arc<HandClock>,
    pub(crate) context: Context,
    pub(crate) hub: Hub,
}

/// A child's open session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) child: ChildId,
    pub(crate) epoch: u64,
    pub(crate) adopting: bool,
    pub(crate) point: Accepted,
}

pub(crate) fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub(crate) fn asg(n: u128) -> AssignmentId {
    AssignmentId(uuid(n))
}

/// What a child tells of an assignment that fills slot `id + 1000`.
pub(crate) fn entry(
    id: AssignmentId,
    generation: u64,
    desired: Desired,
    phase: Phase,
) -> v1::InstanceReport {
    v1::InstanceReport {
        id: id.to_string(),
        slot_id: uuid(id.0.as_u128() + 1000).to_string(),
        generation,
        desired: convert::desired_to_wire(desired).into(),
        phase: convert::phase_to_wire(phase).into(),
        spec_hash: vec![1; 32],
        namespace: "default".to_owned(),
        application: "web".to_owned(),
        application_uid: uuid(5).to_string(),
        service: "front".to_owned(),
        ..Default::default()
    }
}

pub(crate) fn refusing(
    entry: v1::InstanceReport,
    reason: v1::RejectionReason,
) -> v1::InstanceReport {
    v1::InstanceReport {
        rejection: Some(v1::Rejection {
            reason: reason.into(),
            message: "no room".to_owned(),
        }),
        ..entry
    }
}

/// The messages to a child that are of a kind.
pub(crate) fn only<T>(outbox: &Outbox, pick: impl Fn(&Message) -> Option<T>) -> Vec<T> {
    let bodies = outbox.iter().filter_map(|(_, m)| m.message.as_ref());
    bodies.filter_map(pick).collect()
}

pub(crate) fn acks(outbox: &Outbox) -> Vec<u64> {
    only(outbox, |m| match m {
        Message::Ack(ack) => Some(ack.recorded_seq),
        _ => None,
    })
}

/// The newest order that each Ack names.
pub(crate) fn newest(outbox: &Outbox) -> Vec<Option<u64>> {
    only(outbox, |m| match m {
        Message::Ack(ack) => Some(ack.newest_order),
        _ => None,
    })
}

pub(crate) fn refusals(outbox: &Outbox) -> Vec<v1::RefusalReason> {
    only(outbox, |m| match m {
        Message::Refusal(refusal) => Some(refusal.reason()),
        _ => None,
    })
}

/// Ids and generations of the orders that were sent, in whatever message.
pub(crate) fn sent(outbox: &Outbox) -> Vec<(String, u64, v1::Desired)> {
    let entries = only(outbox, |m| match m {
        Message::Snapshot(snapshot) => Some(snapshot.entries.clone()),
        Message::Delta(delta) => Some(delta.entries.clone()),
        _ => None,
    });
    let order = |a: v1::Assignment| (a.id.clone(), a.generation, a.desired());
    entries.into_iter().flatten().map(order).collect()
}

pub(crate) fn asks_for_all(outbox: &Outbox) -> bool {
    let full = |m: &Message| {
        matches!(
            m,
            Message::ReportRequest(v1::ReportRequest { full: true, .. })
        )
    };
    only(outbox, |m| full(m).then_some(())).len() == 1
}

impl Bed {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(HandClock(AtomicI64::new(1_700_000_000_000)));
        let store = MemoryStore::new(Lineage(uuid(1)), clock.clone());
        Self::over(Arc::new(store), clock, 100_000)
    }

    /// Two replicas of a tier over one database.
    pub(crate) fn two() -> (Self, Self) {
        let clock = Arc::new(HandClock(AtomicI64::new(1_700_000_000_000)));
        let store = Arc::new(MemoryStore::new(Lineage(uuid(1)), clock.clone()).shared());
        let first = Self::over(store.clone(), clock.clone(), 400_000);
        (first, Self::over(store, clock, 500_000))
    }

    fn over(store: Arc<MemoryStore>, clock: Arc<HandClock>, ids: u64) -> Self {
        let context = Context {
            store: store.clone(),
            clock: clock.clone(),
            ids: Arc::new(Counter(AtomicU64::new(ids))),
            replica: Uuid::from_u128(u128::from(ids)),
            own: Owner::Root,
            noun: "cluster",
            times: Times::default(),
        };
        Self {
            hub: Hub::new(context.clone()),
            store,
            clock,
            context,
        }
    }

    /// The process is started again over the same database.
    pub(crate) fn restarted(self) -> Self {
        Self::over(self.store, self.clock, 200_000)
    }

    /// The process is started again over that database.
    pub(crate) fn with(self, store: MemoryStore) -> Self {
        Self::over(Arc::new(store), self.clock, 300_000)
    }

    /// An empty database of another lineage.
    pub(crate) fn empty(&self) -> MemoryStore {
        MemoryStore::new(Lineage(uuid(2)), self.clock.clone())
    }

    /// A copy of the database as it is now.
    pub(crate) fn copy(&self) -> MemoryStore {
        MemoryStore::from_snapshot(self.store.snapshot(), self.clock.clone())
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.wall()
    }

    pub(crate) fn wait(&self, millis: i64) {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    /// Lets seconds pass, as the hub's loop sees them.
    pub(crate) async fn pass(&self, seconds: u32) {
        for _ in 0..seconds {
            self.wait(1000);
            self.hub.tick().await.unwrap();
        }
    }

    pub(crate) async fn write(&self, writes: impl IntoIterator<Item = Write>) {
        let mut tx = self.store.write().await.unwrap();
        for write in writes {
            tx.stage(write);
        }
        tx.commit().await.unwrap();
    }

    pub(crate) async fn plan(&self) {
        Engine::new(self.context.clone()).run_once().await.unwrap();
    }

    /// A child that is known.
    pub(crate) async fn child(&self, n: u128) -> ChildId {
        let id = ChildId(uuid(n));
        let child = Child {
            id,
            name: Some(Name::from_any(&format!("c{n}"))),
            ..Default::default()
        };
        self.write([Write::PutChild(child)]).await;
        id
    }

    /// A slot, and an order for it at a child.
    pub(crate) async fn order(&self, child: ChildId, n: u128, generation: u64, desired: Desired) {
        let app = AppKey {
            owner: Owner::Root,
            namespace: Name::from_any("default"),
            name: Name::from_any("web"),
        };
        let slot = SlotId(uuid(n + 1000));
        let service = Name::from_any("front");
        let assignment = Assignment {
            id: asg(n),
            slot,
            app: app.clone(),
            app_uid: AppUid(uuid(5)),
            service: service.clone(),
            ordinal: 0,
            child,
            generation,
            desired,
            restart_count: 0,
            spec_hash: SpecHash([1; 32]),
            demand: Resources::default(),
            observed: Observed {
                phase: Phase::Scheduled,
                ..Default::default()
            },
            created_at: Time(0),
            order_revision: 0,
            revision: 0,
        };
        let slot = Slot {
            id: slot,
            app,
            app_uid: AppUid(uuid(5)),
            service,
            ordinal: 0,
            desired: if desired == Desired::Stop {
                Desired::Stop
            } else {
                Desired::Run
            },
            restart_count: 0,
            spec_hash: SpecHash([1; 32]),
            demand: Resources::default(),
            upstream: None,
            refusals: Vec::new(),
            pending: Vec::new(),
            created_at: Time(0),
            revision: 0,
        };
        self.write([
            Write::PutSlot(slot),
            Write::PutAssignment {
                assignment,
                ordered: true,
            },
        ])
        .await;
    }

    pub(crate) async fn meta(&self) -> Meta {
        self.store.read().await.unwrap().meta().await.unwrap()
    }

    pub(crate) async fn rows(&self) -> Vec<Assignment> {
        let tx = self.store.read().await.unwrap();
        tx.assignments(&AssignmentFilter::default()).await.unwrap()
    }

    pub(crate) async fn row(&self, n: u128) -> Option<Assignment> {
        self.rows().await.into_iter().find(|a| a.id == asg(n))
    }

    pub(crate) async fn slot(&self, n: u128) -> Option<Slot> {
        let tx = self.store.read().await.unwrap();
        let slots = tx.slots(&SlotFilter::default()).await.unwrap();
        slots.into_iter().find(|s| s.id == SlotId(uuid(n + 1000)))
    }

    pub(crate) async fn record(&self, child: ChildId) -> Child {
        let tx = self.store.read().await.unwrap();
        tx.child(child).await.unwrap().unwrap()
    }

    pub(crate) async fn state(&self, child: ChildId) -> ChildState {
        self.record(child).await.state
    }

    /// What the database has reached.
    pub(crate) async fn point(&self) -> Accepted {
        let meta = self.meta().await;
        Accepted {
            lineage: meta.lineage,
            issuer_epoch: meta.issuer_epoch,
            revision: meta.revision,
        }
    }

    pub(crate) fn hello(attempt: u128, accepted: Option<Accepted>) -> child_message::Message {
        child_message::Message::Hello(v1::Hello {
            protocol_min: edgeio_link::PROTOCOL,
            protocol_max: edgeio_link::PROTOCOL,
            attach_id: AttachId(uuid(attempt)).to_string(),
            accepted: accepted.as_ref().map(convert::accepted_to_wire),
            ..Default::default()
        })
    }

    pub(crate) async fn say(&self, child: ChildId, body: child_message::Message) -> Outbox {
        self.hear([(child, body)]).await
    }

    pub(crate) async fn hear(
        &self,
        said: impl IntoIterator<Item = (ChildId, child_message::Message)>,
    ) -> Outbox {
        let wrap = |(child, body)| {
            let message = Some(body);
            (child, v1::ChildMessage { message })
        };
        let messages = said.into_iter().map(wrap).collect();
        self.hub.receive(messages).await.unwrap()
    }

    /// Opens a session.
    pub(crate) async fn open(
        &self,
        child: ChildId,
        attempt: u128,
        accepted: Option<Accepted>,
    ) -> Session {
        let outbox = self.say(child, Self::hello(attempt, accepted)).await;
        let [(_, message)] = &outbox[..] else {
            panic!("{outbox:?}");
        };
        let Some(Message::Welcome(welcome)) = &message.message else {
            panic!("{outbox:?}");
        };
        Session {
            child,
            epoch: message.session_epoch,
            adopting: welcome.adopting,
            point: self.point().await,
        }
    }

    /// Opens a session in which a child that follows this database tells these.
    pub(crate) async fn attached(
        &self,
        child: ChildId,
        attempt: u128,
        entries: Vec<v1::InstanceReport>,
    ) -> Session {
        let session = self.open(child, attempt, Some(self.point().await)).await;
        let outbox = self.tell(session, full(1, entries)).await;
        assert_eq!(acks(&outbox), [1]);
        session
    }

    /// Says a report of that session, of a child that has applied its point.
    pub(crate) async fn tell(&self, session: Session, report: v1::Report) -> Outbox {
        self.say(session.child, said(session, report)).await
    }
}

pub(crate) fn said(session: Session, report: v1::Report) -> child_message::Message {
    child_message::Message::Report(v1::Report {
        session_epoch: session.epoch,
        applied: Some(convert::accepted_to_wire(&session.point)),
        ..report
    })
}

pub(crate) fn full(seq: u64, entries: Vec<v1::InstanceReport>) -> v1::Report {
    v1::Report {
        full: true,
        ..part(seq, entries)
    }
}

pub(crate) fn part(seq: u64, entries: Vec<v1::InstanceReport>) -> v1::Report {
    v1::Report {
        seq,
        entries,
        ..Default::default()
    }
}

/// A heartbeat of a child that holds these orders in these states.
pub(crate) fn beat(seq: u64, held: &[v1::InstanceReport]) -> v1::Report {
    let order = |e: &v1::InstanceReport| {
        let desired = convert::desired_from_wire(e.desired).unwrap();
        (
            e.id.parse().unwrap(),
            e.generation,
            desired,
            e.restart_count,
        )
    };
    let state = |e: &v1::InstanceReport| {
        let phase = convert::phase_from_wire(e.phase).unwrap();
        (e.id.parse().unwrap(), phase, e.restarts)
    };
    v1::Report {
        assignments_digest: digest::assignments(held.iter().map(order)).to_vec(),
        states_digest: digest::states(held.iter().map(state)).to_vec(),
        ..part(seq, Vec::new())
    }
}
