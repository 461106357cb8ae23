//! What a child holds, as the child's half needs to see it, and the verdicts on what it is sent.

use edgeio_domain::{
    child::Accepted,
    ids::{AssignmentId, SpecHash},
    node::RejectionReason,
    records::Desired,
};
use edgeio_proto::link::v1;

use crate::convert::WireError;

/// What a child holds of one assignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Generation of its newest order.
    pub generation: u64,
    /// What that order wants.
    pub desired: Desired,
    /// Restarts that users asked for.
    pub restart_count: u32,
    /// No snapshot names it.
    pub orphan: bool,
}

/// A view of what a child has persisted.
pub trait Holdings {
    /// What it holds of an assignment.
    fn held(&self, id: AssignmentId) -> Option<Held>;
    /// Whether the id was stopped for good.
    fn is_tombstoned(&self, id: AssignmentId) -> bool;
    /// All that it holds.
    fn ids(&self) -> Vec<AssignmentId>;
}

/// What a complete snapshot or delta means for the child: to be persisted as a whole before anything of it is acted on.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Acceptance {
    /// The point that is reached with it.
    pub accepted: Accepted,
    /// New or newer orders. A STOP of what is not held is among them: it leaves a tombstone.
    pub take: Vec<v1::Assignment>,
    /// Orders that are not taken.
    pub refuse: Vec<(v1::Assignment, RejectionReason)>,
    /// Stops of what was stopped before: there is nothing to do but to say so again.
    pub gone: Vec<v1::Assignment>,
    /// Held, and named by no entry of a complete snapshot.
    pub orphaned: Vec<AssignmentId>,
    /// Orphans that are named again.
    pub claimed: Vec<AssignmentId>,
    /// Orders of a kind that this version does not know, by id: what is held stays as it is, and a person should look.
    pub unread: Vec<(String, WireError)>,
    /// Specs that came along, checked against their hash.
    pub specs: Vec<(SpecHash, Vec<u8>)>,
}

impl Acceptance {
    /// Judges the entries of a complete message against what is held.
    pub(crate) fn judge(
        accepted: Accepted,
        snapshot: bool,
        entries: Vec<v1::Assignment>,
        specs: Vec<v1::Spec>,
        held: &dyn Holdings,
    ) -> Self {
        let mut out = Acceptance {
            accepted,
            ..Default::default()
        };
        let mut named = Vec::new();
        for entry in entries {
            // An id that cannot be read cannot be held; the digests will tell the parent.
            let Ok(id) = crate::convert::id::<AssignmentId>("id", &entry.id) else {
                continue;
            };
            named.push(id);
            let before = held.held(id);
            if before.is_some_and(|held| held.orphan) {
                out.claimed.push(id);
            }
            let desired = match crate::convert::desired_from_wire(entry.desired) {
                Ok(desired) => desired,
                Err(fault) => {
                    out.unread.push((entry.id, fault));
                    continue;
                }
            };
            match before {
                Some(before) if before.generation >= entry.generation => {}
                Some(before) if before.desired == Desired::Stop && desired != Desired::Stop => {
                    out.refuse.push((entry, RejectionReason::Tombstoned));
                }
                None if held.is_tombstoned(id) && desired != Desired::Stop => {
                    out.refuse.push((entry, RejectionReason::Tombstoned));
                }
                None if held.is_tombstoned(id) => out.gone.push(entry),
                Some(_) | None => out.take.push(entry),
            }
        }
        if snapshot {
            named.sort_unstable();
            let lost = |id: &AssignmentId| {
                named.binary_search(id).is_err()
                    && held
                        .held(*id)
                        .is_some_and(|h| !h.orphan && h.desired != Desired::Stop)
            };
            out.orphaned = held.ids().into_iter().filter(lost).collect();
        }
        out.specs = specs
            .into_iter()
            .filter_map(|spec| {
                let hash = SpecHash::from_slice(&spec.hash)?;
                (SpecHash::of(&spec.body) == hash).then_some((hash, spec.body))
            })
            .collect();
        out
    }
}
