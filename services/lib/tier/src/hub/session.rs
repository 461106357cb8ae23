//! One child's session in memory.

use std::collections::BTreeSet;

use edgeio_domain::{
    child::Accepted,
    ids::{AppUid, AssignmentId, SpecHash},
    plant::{self, Plant},
    time::Time,
};
use edgeio_link::{
    chunk::Assembly,
    parent::{Facts, Parent},
    version::Agreed,
};

/// One child's session.
pub(super) struct Session {
    pub(super) parent: Parent,
    /// What both sides can do.
    pub(super) agreed: Agreed,
    /// What the child said it has applied.
    pub(super) applied: Option<Accepted>,
    /// Ids of the full report that is coming in, and the number of its first part.
    pub(super) told: (u64, BTreeSet<AssignmentId>),
    /// What the database says about the child; `None` when it must be read again.
    pub(super) facts: Option<Facts>,
    /// Parts of a list of all applications that the child owns, by the number of the report with the first one.
    pub(super) applications: Assembly<u64, BTreeSet<AppUid>>,
    /// Specs that something of this child has and the database has not; `None` when it must be looked up.
    pub(super) missing: Option<BTreeSet<SpecHash>>,
    /// Specs that were asked for and did not come yet.
    pub(super) asked_specs: BTreeSet<SpecHash>,
    /// When specs were asked for last.
    pub(super) specs_asked_at: Option<Time>,
}

impl Session {
    pub(super) fn new(parent: Parent, agreed: Agreed) -> Self {
        Self {
            parent,
            agreed,
            applied: None,
            told: (0, BTreeSet::new()),
            facts: None,
            applications: Assembly::default(),
            missing: None,
            asked_specs: BTreeSet::new(),
            specs_asked_at: None,
        }
    }

    /// The revision that the child has applied of this very database.
    pub(super) fn applied_of(&self, point: &Accepted) -> u64 {
        let any_epoch = plant::on(Plant::DeltaAcrossEpoch);
        let same = |a: &Accepted| {
            a.lineage == point.lineage && (a.issuer_epoch == point.issuer_epoch || any_epoch)
        };
        self.applied.filter(same).map_or(0, |a| a.revision)
    }
}
