//! A tier of the simulation: what is durable, and the loops above it, which a crash takes away.

use std::sync::Arc;

use edgeio_cluster::uplink::Uplink;
use edgeio_domain::{
    child::Capacity,
    ids::{AttachId, ChildId, IdSource, Lineage},
    name::Name,
    records::Owner,
};
use edgeio_link::child::Identity;
use edgeio_store::{Store, StoreError, memory::MemoryStore};
use edgeio_tier::{
    children::{Admission, admit},
    context::{Context, Times},
    engine::Engine,
    hub::Hub,
};
use futures::executor::block_on;

use super::clock::{SimClock, SimIds};

/// The loops of a running tier.
pub(super) struct Loops {
    pub(super) engine: Engine,
    pub(super) hub: Hub,
    pub(super) uplink: Option<Uplink>,
}

/// A tier.
pub(super) struct Tier {
    pub(super) store: Arc<MemoryStore>,
    pub(super) context: Context,
    pub(super) ids: Arc<SimIds>,
    pub(super) id: ChildId,
    /// `None` while it is down.
    pub(super) loops: Option<Loops>,
    /// When its next turn is in the queue.
    pub(super) turn: Option<edgeio_domain::time::Time>,
    has_root: bool,
}

impl Tier {
    pub(super) fn new(
        clock: &Arc<SimClock>,
        range: u8,
        noun: &'static str,
        has_root: bool,
    ) -> Self {
        let ids = Arc::new(SimIds::new(range));
        let id = ChildId(ids.next());
        let store = Arc::new(MemoryStore::new(Lineage(ids.next()), clock.clone()));
        let own = if has_root {
            Owner::Cluster(id)
        } else {
            Owner::Root
        };
        let context = Context {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            replica: ids.next(),
            own,
            noun,
            times: Times::default(),
        };
        Self {
            store,
            context,
            ids,
            id,
            loops: None,
            turn: None,
            has_root,
        }
    }

    /// Starts the loops over what is durable.
    pub(super) fn start(&mut self) -> Result<(), StoreError> {
        let uplink = if self.has_root {
            let identity = Identity {
                id: self.id,
                version: String::new(),
                boot_id: String::new(),
            };
            let mut uplink = block_on(Uplink::open(self.context.clone(), identity))?;
            uplink.connect(AttachId(self.ids.next()));
            Some(uplink)
        } else {
            None
        };
        self.loops = Some(Loops {
            engine: Engine::new(self.context.clone()),
            hub: Hub::new(self.context.clone()),
            uplink,
        });
        Ok(())
    }

    /// Makes a child known.
    pub(super) fn admit(
        &self,
        id: ChildId,
        name: &str,
        capacity: Option<Capacity>,
    ) -> Result<(), StoreError> {
        block_on(async {
            let mut tx = self.store.write().await?;
            let wish = Admission {
                id,
                name: Name::from_any(name),
                public_key: name.to_owned(),
                address: String::new(),
                version: String::new(),
                inventory: Vec::new(),
                capacity,
            };
            admit(&self.context, &mut *tx, wish).await?;
            if !tx.is_empty() {
                tx.commit().await?;
            }
            Ok(())
        })
    }
}
