//! Full reports: what a child does not name in one, it does not hold.

use std::collections::BTreeSet;

use edgeio_domain::{
    child::Accepted,
    ids::{AssignmentId, ChildId},
    records::Desired,
};
use edgeio_link::{convert, parent::first_part};
use edgeio_proto::link::v1;
use tracing::info;

use super::{session::Session, work::Work};

/// Notes the ids of one part.
pub(super) fn collect(session: &mut Session, report: &v1::Report) {
    let first = first_part(report);
    if session.told.0 != first {
        session.told = (first, BTreeSet::new());
    }
    session.told.1.extend(
        report
            .entries
            .iter()
            .filter_map(|e| convert::id::<AssignmentId>("id", &e.id).ok()),
    );
}

/// All parts are there. A stop that the child has applied and no longer names is done; a held one that it no longer names
/// is gone. A RUN that it does not name is sent again, since the digests differ.
pub(super) fn complete(work: &mut Work, session: &mut Session, child: ChildId, point: &Accepted) {
    let (_, told) = std::mem::take(&mut session.told);
    let applied = session.applied_of(point);
    let missing: Vec<(AssignmentId, Desired)> = work
        .of_child(child)
        .filter(|a| !told.contains(&a.id))
        .filter(|a| match a.desired {
            Desired::Stop => a.order_revision > 0 && a.order_revision <= applied,
            Desired::Hold => true,
            Desired::Run | Desired::Pause => false,
        })
        .map(|a| (a.id, a.desired))
        .collect();
    for (id, desired) in missing {
        info!(instance = %id, %child, ?desired, "no longer there");
        work.delete(id);
    }
}
