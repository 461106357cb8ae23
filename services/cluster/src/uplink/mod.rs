//! The cluster as a child of its root: what the root assigns becomes slots here, and what becomes of them is told up.
//!
//! Everything that the root sent is committed in the cluster's database before the engine can act on it. The uplink keeps
//! in memory only what it has told the root. Without a root nothing here stops: the slots are in the database.

mod accept;
mod address;
mod capacity;
mod holdings;
mod owned;
mod states;
#[cfg(test)]
mod tests;

pub mod driver;

use std::{collections::BTreeMap, time::Duration};

use edgeio_domain::{
    ids::{AppUid, AssignmentId, AttachId, SlotId, SpecHash},
    records::Desired,
    time::Time,
};
use edgeio_link::{
    child::{CONTESTED, Child, Identity, Owned, Step, View},
    version::feature,
};
use edgeio_proto::link::v1;
use edgeio_store::{Revision, SlotFilter, StoreError, Write};
use edgeio_tier::context::Context;
use holdings::Slots;
use states::{States, Told};
use tracing::{error, info, warn};

/// The cluster's half of the link to its root.
pub struct Uplink {
    context: Context,
    child: Child,
    states: States,
    read_at: Option<Revision>,
    /// Whether the states that were read last are with the cluster's own.
    read_told: Told,
}

/// What the driver shall do besides sending.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// Register again before the next attempt.
    pub register: bool,
}

impl Uplink {
    /// An uplink over the cluster's database.
    ///
    /// # Errors
    /// The store failed.
    pub async fn open(context: Context, identity: Identity) -> Result<Self, StoreError> {
        let accepted = context.store.read().await?.meta().await?.uplink.accepted;
        Ok(Self {
            context,
            child: Child::new(identity, accepted),
            states: States::default(),
            read_at: None,
            read_told: Told::default(),
        })
    }

    /// The transport is up.
    pub fn connect(&mut self, attach: AttachId) {
        self.child.connect(attach, self.context.clock.boot());
    }

    /// The transport is down.
    pub fn disconnect(&mut self) {
        self.child.disconnect();
    }

    /// Whether the root was silent for so long that the transport should be made anew.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.child.is_silent(self.context.clock.boot())
    }

    /// When [`Uplink::poll`] has something to do at the latest, on CLOCK_BOOTTIME.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.child.due(self.context.clock.boot())
    }

    /// Takes a message of the root: what it orders is committed before this returns.
    ///
    /// # Errors
    /// The store failed: nothing was accepted, and the root will send it again.
    pub async fn receive(&mut self, message: v1::ParentMessage) -> Result<Asked, StoreError> {
        let now = self.context.clock.boot();
        let mut asked = Asked::default();
        let held = Slots::read(&self.context, &message).await?;
        for step in self.child.receive(message, &held, now) {
            match step {
                Step::Accept(acceptance) => {
                    accept::persist(&self.context, &acceptance).await?;
                    self.child.accepted(&acceptance);
                    self.read_at = None;
                }
                Step::Recorded => self.settle().await?,
                // Once is everyday life: the root lost its memory, or an old session's message came late.
                Step::Superseded(pause) if pause < CONTESTED => {
                    info!(?pause, "the session is over, opening another");
                }
                Step::Superseded(pause) => warn!(
                    ?pause,
                    "another session of this cluster was opened at the root: if this happens again and again, two clusters have one data directory"
                ),
                Step::Register(why) => {
                    info!(why, "root does not know this cluster, registering again");
                    asked.register = true;
                }
                Step::Incompatible(why) => {
                    error!(why, "root and cluster cannot talk: upgrade the older one");
                }
            }
        }
        Ok(asked)
    }

    /// What to send now.
    ///
    /// # Errors
    /// The store failed; calling again is right.
    pub async fn poll(&mut self) -> Result<Vec<v1::ChildMessage>, StoreError> {
        let revision = *self.context.store.watch().borrow();
        let wall = self.context.clock.wall();
        let told = Told {
            owned: self.child.has(feature::OWNED_APPLICATIONS),
            silent_returns: self.child.has(feature::RETURNS_SILENT),
        };
        if self.read_at != Some(revision) || self.read_told != told || self.states.is_due(wall) {
            self.states
                .refresh(&self.context, self.child.accepted_point(), told)
                .await?;
            (self.read_at, self.read_told) = (Some(revision), told);
            let (instances, applications) = self.states.lost();
            self.child.lost(instances, applications);
        }
        let specs = self.specs().await?;
        let versions = self.states.versions();
        let (assignments, digest) = self.states.digests();
        let render = |id: AssignmentId| self.states.render(id, wall);
        let applications = self.states.applications().versions();
        let applications_digest = self.states.applications().digest();
        let render_application = |uid: AppUid| self.states.applications().render(uid, wall);
        let view = View {
            states: &versions,
            assignments,
            digest,
            render: &render,
            capacity: self.states.capacity(),
            owned: told.owned.then_some(Owned {
                applications: &applications,
                digest: applications_digest,
                render: &render_application,
            }),
            specs: &specs,
        };
        Ok(self.child.poll(&view, self.context.clock.boot()))
    }

    /// The specs that the root asked for.
    async fn specs(&self) -> Result<Vec<v1::Spec>, StoreError> {
        let wanted = self.child.wanted_specs();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.context.store.read().await?.specs(&wanted).await?;
        let spec = |(hash, body): (SpecHash, Vec<u8>)| v1::Spec {
            hash: hash.0.to_vec(),
            body,
        };
        Ok(found.into_iter().map(spec).collect())
    }

    /// Removes slots that the root wanted stopped, once it has recorded that they are. What stays is a tombstone.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let told: BTreeMap<SlotId, u64> = self
            .states
            .stopped()
            .filter(|(id, version, _)| self.child.is_recorded(*id, *version))
            .map(|(id, _, generation)| (SlotId(id.0), generation))
            .collect();
        if told.is_empty() {
            return Ok(());
        }
        let mut tx = self.context.store.write().await?;
        let filter = SlotFilter {
            ids: Some(told.keys().copied().collect()),
            ..Default::default()
        };
        let mut done = tx.slots(&filter).await?;
        // An order that came since waits for an answer of its own.
        done.retain(|slot| {
            let generation = slot.upstream.as_ref().map(|up| up.generation);
            slot.desired == Desired::Stop && generation == told.get(&slot.id).copied()
        });
        for slot in &done {
            tx.stage(Write::DeleteSlot(slot.id));
            tx.stage(Write::PutTombstone(slot.id.0, self.context.clock.wall()));
        }
        if !tx.is_empty() {
            tx.commit().await?;
        }
        // Only now: a commit that failed is tried again with the next Ack.
        for slot in done {
            self.child.forget(AssignmentId(slot.id.0));
            self.states.forget(AssignmentId(slot.id.0));
        }
        Ok(())
    }
}

/// The longest that the driver sleeps between polls. Leases and silence are judged in seconds.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(1);
