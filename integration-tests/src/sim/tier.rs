//! Tiers of the simulation: databases, which last, and processes above them, which a crash takes away.

use std::sync::Arc;

use edgeio_cluster::uplink::Uplink;
use edgeio_domain::{
    child::Capacity,
    ids::{AttachId, ChildId, IdSource as _, Lineage},
    name::Name,
    records::Owner,
    time::Time,
};
use edgeio_link::child::Identity;
use edgeio_store::{
    Revision, Store, StoreError,
    memory::{MemoryStore, Snapshot},
};
use edgeio_tier::{
    apps::{Apps, Children},
    children::{Admission, admit},
    context::{Context, Times},
    engine::Engine,
    hub::Hub,
};
use futures::executor::block_on;
use uuid::Uuid;

use super::{
    clock::{SimClock, SimIds},
    queue::Task,
};

/// The loops of a running process.
pub(super) struct Loops {
    pub(super) engine: Arc<Engine>,
    pub(super) hub: Hub,
    pub(super) uplink: Option<Uplink>,
    pub(super) apps: Apps,
    pub(super) children: Children,
}

/// A tier's database.
pub(super) struct Database {
    pub(super) store: Arc<MemoryStore>,
    /// The clock of its server.
    pub(super) clock: Arc<SimClock>,
    /// Several processes have it open.
    pub(super) is_shared: bool,
    pub(super) own: Owner,
    pub(super) noun: &'static str,
    /// Its disk has no room.
    pub(super) is_full: bool,
    /// Copies that were made of it.
    pub(super) copies: Vec<Snapshot>,
    /// When it was lost or replaced by an older copy.
    pub(super) lost_at: Option<Time>,
}

impl Database {
    pub(super) fn new(clock: Arc<SimClock>, ids: &SimIds, own: Owner, noun: &'static str) -> Self {
        Self {
            store: Arc::new(MemoryStore::new(Lineage(ids.next()), clock.clone())),
            clock,
            is_shared: false,
            own,
            noun,
            is_full: false,
            copies: Vec::new(),
            lost_at: None,
        }
    }

    /// Puts an empty database in its place, or what a copy of it held.
    pub(super) fn replace(&mut self, copy: Option<Snapshot>, ids: &SimIds, now: Time) {
        let clock = self.clock.clone();
        let store = match copy {
            Some(copy) => MemoryStore::from_snapshot(copy, clock),
            None => MemoryStore::new(Lineage(ids.next()), clock),
        };
        self.put(store);
        self.lost_at = Some(now);
    }

    /// Several processes have it open from now on.
    pub(super) fn share(&mut self, ids: &SimIds) {
        self.is_shared = true;
        self.put(MemoryStore::new(Lineage(ids.next()), self.clock.clone()));
    }

    fn put(&mut self, store: MemoryStore) {
        self.store = Arc::new(if self.is_shared {
            store.shared()
        } else {
            store
        });
    }

    pub(super) fn revision(&self) -> Revision {
        *self.store.watch().borrow()
    }
}

/// A process of a tier: a replica of the root, or a cluster.
pub(super) struct Process {
    pub(super) clock: Arc<SimClock>,
    /// `None` while it is down.
    pub(super) loops: Option<Loops>,
    /// When each loop has something to do next.
    pub(super) wake: [Option<Time>; Task::ALL.len()],
    /// Its name among those that share the database, from start to end.
    replica: Uuid,
    times: Times,
}

impl Process {
    pub(super) fn new(clock: Arc<SimClock>, times: Times) -> Self {
        Self {
            clock,
            loops: None,
            wake: [None; Task::ALL.len()],
            replica: Uuid::nil(),
            times,
        }
    }

    /// The parts that its loops share.
    pub(super) fn context(&self, database: &Database, ids: &Arc<SimIds>) -> Context {
        Context {
            store: database.store.clone(),
            clock: self.clock.clone(),
            ids: ids.clone(),
            replica: self.replica,
            own: database.own,
            noun: database.noun,
            times: self.times,
        }
    }

    /// Starts the loops over what is durable.
    pub(super) fn start(
        &mut self,
        database: &Database,
        ids: &Arc<SimIds>,
        child: Option<ChildId>,
    ) -> Result<(), StoreError> {
        self.replica = ids.next();
        let context = self.context(database, ids);
        let uplink = match child {
            None => None,
            Some(id) => {
                let identity = Identity {
                    id,
                    version: String::new(),
                    boot_id: String::new(),
                };
                Some(block_on(Uplink::open(context.clone(), identity))?)
            }
        };
        let engine = Arc::new(Engine::new(context.clone()));
        self.wake = [None; Task::ALL.len()];
        self.loops = Some(Loops {
            hub: Hub::new(context.clone()),
            uplink,
            apps: Apps::new(&context, engine.clone(), "here"),
            children: Children::new(&context, "here"),
            engine,
        });
        Ok(())
    }

    /// Makes a child known.
    pub(super) fn admit(
        &self,
        database: &Database,
        ids: &Arc<SimIds>,
        id: ChildId,
        name: &str,
        capacity: Option<Capacity>,
    ) -> Result<(), StoreError> {
        let context = self.context(database, ids);
        block_on(async {
            let mut tx = context.store.write().await?;
            let wish = Admission {
                id,
                name: Name::from_any(name),
                public_key: name.to_owned(),
                address: String::new(),
                version: String::new(),
                inventory: Vec::new(),
                capacity,
            };
            admit(&context, &mut *tx, wish).await?;
            if !tx.is_empty() {
                tx.commit().await?;
            }
            Ok(())
        })
    }
}

/// A cluster.
pub(super) struct Cluster {
    pub(super) id: ChildId,
    pub(super) name: String,
    pub(super) database: Database,
    pub(super) process: Process,
    /// Its bridges.
    pub(super) bridges: Vec<usize>,
    /// The replica of the root at which its stream ends.
    pub(super) attached: Option<usize>,
    /// Counts its attempts to dial the root.
    pub(super) dials: u64,
    /// When the root recorded something that it said.
    pub(super) heard_at: Time,
    /// It is a copy of another one's disk.
    pub(super) is_clone: bool,
}

impl Cluster {
    pub(super) fn new(
        (clock, times): (Arc<SimClock>, Times),
        ids: &Arc<SimIds>,
        name: String,
        bridges: Vec<usize>,
    ) -> Self {
        let id = ChildId(ids.next());
        Self {
            id,
            name,
            database: Database::new(clock.clone(), ids, Owner::Cluster(id), "worker"),
            process: Process::new(clock, times),
            bridges,
            attached: None,
            dials: 0,
            heard_at: Time(0),
            is_clone: false,
        }
    }

    pub(super) fn start(&mut self, ids: &Arc<SimIds>) -> Result<(), StoreError> {
        self.process.start(&self.database, ids, Some(self.id))
    }

    /// The transport to the root is up.
    pub(super) fn connect(&mut self, root: usize, ids: &SimIds) {
        self.attached = Some(root);
        if let Some(uplink) = self.process.loops.as_mut().and_then(|l| l.uplink.as_mut()) {
            uplink.connect(AttachId(ids.next()));
        }
    }
}

/// A bridge of a cluster: it holds nothing.
pub(super) struct Bridge {
    pub(super) cluster: usize,
    pub(super) up: bool,
}
