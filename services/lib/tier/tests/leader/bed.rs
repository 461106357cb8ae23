//! Engines of several processes over one store in memory, clocks that are set by hand, and always something to commit.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use edgeio_domain::{
    ids::{AppUid, IdSource, Lineage, SpecHash},
    name::Name,
    records::{AppKey, Application, Owner, Service},
    time::{Clock, Time},
};
use edgeio_store::{Lease, MemoryStore, Revision, Store, Write, memory::CommitFault};
use edgeio_tier::{
    context::{Context, Times},
    engine::{Engine, Outcome},
    leader::ENGINE,
};
use uuid::Uuid;

/// Length of the lease, in milliseconds.
pub(crate) const LEASE: i64 = 15_000;

/// A wall clock that jumps and a boot clock that does not.
struct Clocks {
    wall: AtomicI64,
    boot: AtomicI64,
}

impl Clock for Clocks {
    fn wall(&self) -> Time {
        Time(self.wall.load(Ordering::Relaxed))
    }
    fn boot(&self) -> Time {
        Time(self.boot.load(Ordering::Relaxed))
    }
}

struct Counter(AtomicU64);

impl IdSource for Counter {
    fn next(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A small generator (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

pub(crate) struct Bed {
    pub(crate) store: Arc<MemoryStore>,
    clocks: Arc<Clocks>,
    ids: Arc<Counter>,
    engines: Vec<Engine>,
    /// The leader's number in the database after each run that changed it.
    epochs: Vec<u64>,
    replicas: u32,
}

impl Bed {
    /// So many processes over one database.
    pub(crate) fn shared(processes: usize) -> Self {
        Self::over(processes, MemoryStore::shared)
    }

    /// One process that has its database for itself.
    pub(crate) fn exclusive() -> Self {
        Self::over(1, std::convert::identity)
    }

    fn over(processes: usize, kind: impl Fn(MemoryStore) -> MemoryStore) -> Self {
        let clocks = Arc::new(Clocks {
            wall: AtomicI64::new(1_700_000_000_000),
            boot: AtomicI64::new(5_000),
        });
        let store = MemoryStore::new(Lineage(Uuid::from_u128(1)), clocks.clone());
        let mut bed = Self {
            store: Arc::new(kind(store)),
            clocks,
            ids: Arc::new(Counter(AtomicU64::new(1_000))),
            engines: Vec::new(),
            epochs: Vec::new(),
            replicas: 0,
        };
        for _ in 0..processes {
            let engine = bed.start();
            bed.engines.push(engine);
        }
        bed
    }

    fn start(&self) -> Engine {
        Engine::new(Context {
            store: self.store.clone(),
            clock: self.clocks.clone(),
            ids: self.ids.clone(),
            replica: self.ids.next(),
            own: Owner::Root,
            noun: "cluster",
            times: Times::default(),
        })
    }

    /// The process is killed and another one started.
    pub(crate) fn restart(&mut self, who: usize) {
        self.engines[who] = self.start();
    }

    pub(crate) fn engine(&self, who: usize) -> &Engine {
        &self.engines[who]
    }

    pub(crate) fn wait(&self, millis: i64) {
        self.clocks.wall.fetch_add(millis, Ordering::Relaxed);
        self.clocks.boot.fetch_add(millis, Ordering::Relaxed);
    }

    /// Sets the wall clock, which is the database's too.
    pub(crate) fn jump(&self, millis: i64) {
        self.clocks.wall.fetch_add(millis, Ordering::Relaxed);
    }

    /// The next commit breaks off, before it is durable or after.
    pub(crate) fn break_next_commit(&self, after: bool) {
        let mut armed = Some(if after {
            CommitFault::After
        } else {
            CommitFault::Before
        });
        self.store.on_commit(Some(Box::new(move |_| armed.take())));
    }

    pub(crate) fn heal(&self) {
        self.store.on_commit(None);
    }

    /// A user wants another number of replicas, so that the engine has something to write.
    pub(crate) async fn ask(&mut self) {
        self.replicas = self.replicas % 7 + 1;
        let application = Application {
            key: AppKey {
                owner: Owner::Root,
                namespace: Name::from_any("default"),
                name: Name::from_any("web"),
            },
            uid: AppUid(Uuid::from_u128(5)),
            version: 1,
            services: vec![Service {
                name: Name::from_any("front"),
                replicas: self.replicas,
                spec_hash: SpecHash([1; 32]),
            }],
            deleted_at: None,
            created_at: Time(0),
            revision: 0,
        };
        let mut tx = self.store.write().await.unwrap();
        tx.stage(Write::PutApplication(application));
        // It may break off by a fault that was meant for the engine.
        let _ = tx.commit().await;
    }

    /// Runs a process's engine once.
    pub(crate) async fn run(&mut self, who: usize) -> Outcome {
        let outcome = self.engines[who].run_once().await.unwrap_or_default();
        let meta = self.store.read().await.unwrap().meta().await.unwrap();
        if meta.leader_epoch > 0 && self.epochs.last() != Some(&meta.leader_epoch) {
            self.epochs.push(meta.leader_epoch);
        }
        outcome
    }

    /// Gives a process's engine something to write and runs it; answers the number under which it wrote.
    pub(crate) async fn work(&mut self, who: usize) -> Option<u64> {
        self.ask().await;
        let outcome = self.run(who).await;
        outcome.leads.filter(|_| outcome.writes > 0)
    }

    /// The numbers under which commits were made, in their order, each run of equal ones once.
    pub(crate) fn epochs(&self) -> &[u64] {
        &self.epochs
    }

    pub(crate) async fn revision(&self) -> Revision {
        self.store
            .read()
            .await
            .unwrap()
            .meta()
            .await
            .unwrap()
            .revision
    }

    pub(crate) async fn lease(&self) -> Option<Lease> {
        self.store
            .read()
            .await
            .unwrap()
            .lease(ENGINE)
            .await
            .unwrap()
    }
}
