//! What the cluster holds of the root's slots, as the link's child half sees it.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::ids::{AssignmentId, SlotId};
use edgeio_link::{
    convert,
    holdings::{Held, Holdings},
};
use edgeio_proto::link::v1::{self, parent_message::Message};
use edgeio_store::{SlotFilter, StoreError};
use edgeio_tier::context::Context;
use uuid::Uuid;

/// The slots that a message may be about.
#[derive(Default)]
pub(super) struct Slots {
    held: BTreeMap<AssignmentId, Held>,
    tombstones: BTreeSet<Uuid>,
}

impl Slots {
    /// Reads all slots of the root for orders, and nothing for messages without any.
    pub(super) async fn read(
        context: &Context,
        message: &v1::ParentMessage,
    ) -> Result<Self, StoreError> {
        let entries = match &message.message {
            Some(Message::Snapshot(snapshot)) => &snapshot.entries,
            Some(Message::Delta(delta)) => &delta.entries,
            Some(
                Message::Welcome(_)
                | Message::Ack(_)
                | Message::ReportRequest(_)
                | Message::Refusal(_),
            )
            | None => {
                return Ok(Self::default());
            }
        };
        let tx = context.store.read().await?;
        let slots = tx
            .slots(&SlotFilter {
                upstream: Some(true),
                ..Default::default()
            })
            .await?;
        let held = slots.into_iter().filter_map(|slot| {
            let upstream = slot.upstream?;
            let held = Held {
                generation: upstream.generation,
                desired: slot.desired,
                restart_count: slot.restart_count,
                orphan: upstream.orphan,
            };
            Some((AssignmentId(slot.id.0), held))
        });
        let held: BTreeMap<_, _> = held.collect();
        let named: Vec<Uuid> = entries
            .iter()
            .filter_map(|e| convert::id::<SlotId>("id", &e.id).ok())
            .map(|id| id.0)
            .collect();
        let tombstones = tx.tombstones(&named).await?.into_iter().collect();
        Ok(Self { held, tombstones })
    }
}

impl Holdings for Slots {
    fn held(&self, id: AssignmentId) -> Option<Held> {
        self.held.get(&id).copied()
    }

    fn is_tombstoned(&self, id: AssignmentId) -> bool {
        self.tombstones.contains(&id.0)
    }

    fn ids(&self) -> Vec<AssignmentId> {
        self.held.keys().copied().collect()
    }
}
