//! Recording reports: one transaction for a batch, then the answers.

use std::collections::{BTreeMap, BTreeSet};

use edgeio_domain::{
    child::{Accepted, Capacity, Child, ChildState, Replace},
    digest,
    ids::{AssignmentId, ChildId, SlotId},
    lifecycle::Phase,
    name::Name,
    plant::{self, Plant},
    records::{AppKey, Assignment, Desired, Event, Incarnation, Observed, Owner, Refusal, Slot},
    time::Time,
};
use edgeio_link::{
    convert,
    parent::{Parent, Receipt},
    verdict::{self, Recorded, Verdict},
    version::Agreed,
};
use edgeio_proto::link::v1;
use edgeio_server::{
    auth::{Principal, PrincipalKind},
    warn_seldom,
};
use edgeio_store::{AssignmentFilter, AuditRecord, StoreError, Write, WriteTx};
use std::time::Duration;
use tracing::{debug, info};

use super::{Outbox, State, full, owned, point_of, refuse, send, session::Session, work::Work};
use crate::{
    access::{Actor, Target},
    context::{Context, LONGEST_REFUSAL},
};

/// Records reports, in order, and answers them.
pub(super) async fn record(
    context: &Context,
    state: &mut State,
    reports: Vec<(ChildId, v1::Report)>,
) -> Result<Outbox, StoreError> {
    let children: BTreeSet<ChildId> = reports.iter().map(|(child, _)| *child).collect();
    let recorded = record_all(context, state, reports).await;
    if recorded.is_err() {
        // The sessions have counted reports that may not be recorded. Without them the next report shows a gap, and
        // everything is told again.
        state.sessions.retain(|id, _| !children.contains(id));
    }
    recorded
}

async fn record_all(
    context: &Context,
    state: &mut State,
    reports: Vec<(ChildId, v1::Report)>,
) -> Result<Outbox, StoreError> {
    let mut outbox = Outbox::new();
    let mut tx = context.store.write().await?;
    let (mut children, mut ids, mut slots) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (child, report) in &reports {
        children.insert(*child);
        for entry in &report.entries {
            ids.extend(convert::id::<AssignmentId>("id", &entry.id));
            slots.extend(convert::id::<SlotId>("slot_id", &entry.slot_id));
        }
    }
    let mut work = Work::read(&*tx, &children, &ids, &slots).await?;
    let now = context.clock.wall();
    let point = point_of(&tx.meta().await?);
    let mut answers = Vec::new();
    let mut heard_of = BTreeSet::new();
    let mut repeated = Vec::new();
    for (id, report) in reports {
        let epoch = report.session_epoch;
        let Some(child) = work.child(id) else {
            outbox.push((
                id,
                refuse(
                    epoch,
                    v1::RefusalReason::UnknownChild,
                    "not registered here",
                ),
            ));
            continue;
        };
        if child.session_epoch != epoch {
            outbox.push((
                id,
                refuse(
                    epoch,
                    v1::RefusalReason::StaleSession,
                    "a newer session was opened",
                ),
            ));
            continue;
        }
        let Some(features) = &child.features else {
            // An older version of this tier opened the session and did not keep what the child can.
            outbox.push((
                id,
                refuse(
                    epoch,
                    v1::RefusalReason::StaleSession,
                    "what both sides can do is not recorded: open a session anew",
                ),
            ));
            continue;
        };
        let agreed = || Agreed::of_before(features.clone());
        let applied = report
            .applied
            .as_ref()
            .and_then(|a| convert::accepted_from_wire(a).ok());
        if applied.is_some_and(|applied| verdict::is_ahead(&point, &applied)) {
            // The database was restored to an older copy in which the session was open already.
            outbox.push((
                id,
                refuse(
                    epoch,
                    v1::RefusalReason::StaleSession,
                    "this database is older than what the child has accepted of it",
                ),
            ));
            continue;
        }
        let (adopting, ready) = (child.adopting, child.state == ChildState::Ready);
        heard_of.insert(id);
        let session = state
            .sessions
            .entry(id)
            .or_insert_with(|| Session::new(Parent::new(epoch, adopting), agreed()));
        if session.parent.epoch != epoch {
            *session = Session::new(Parent::new(epoch, adopting), agreed());
        }
        match session.parent.receive(&report) {
            Receipt::Stale => {}
            Receipt::Repeated => repeated.push((id, applied)),
            Receipt::Record { completes_full } => {
                session.applied = applied;
                for entry in &report.entries {
                    take(context, &mut work, id, entry, now);
                }
                if context.own == Owner::Root
                    && (report.applications_full || !report.applications.is_empty())
                {
                    let named = report.applications.iter();
                    let named = named.filter_map(|app| convert::id("uid", &app.uid).ok());
                    work.read_applications(&*tx, id, named).await?;
                    owned::applications(&mut work, session, id, &report, now);
                }
                owned::specs(&mut work, session, &report);
                if report.full {
                    full::collect(session, &report);
                }
                if completes_full || !ready {
                    work.read_child(&*tx, id).await?;
                }
                if completes_full {
                    full::complete(&mut work, session, id, &point);
                }
                let known = completes_full || !ready && agrees(&work, id, &report);
                let offered = report.capacity.as_ref();
                let offered = offered.map(|c| capacity(c, applied.as_ref(), &point));
                heard(context, &mut work, id, offered, completes_full, known);
                answers.push((id, report, applied));
            }
        }
    }
    let found = std::mem::take(&mut work.found);
    for (child, object) in std::mem::take(&mut work.foreign) {
        if let Some(record) = audit(context, state, work.child(child), object, now) {
            work.write(Write::Audit(record));
        }
    }
    let (touched, ordered) = work.stage(&mut *tx, now);
    let answered = answers.iter().map(|(id, _, applied)| (*id, *applied));
    let mut newest = BTreeMap::new();
    for (id, applied) in answered.chain(repeated.iter().copied()) {
        newest.insert(id, newest_order(&*tx, id, applied, &point).await?);
    }
    let revision = if tx.is_empty() {
        drop(tx);
        point.revision
    } else {
        tx.commit().await?
    };
    for id in ordered {
        newest.insert(id, revision);
    }
    for id in heard_of {
        state.ears.hear(id, context.clock.boot());
        state.heard.note(id, now);
    }
    for child in touched {
        if let Some(session) = state.sessions.get_mut(&child) {
            session.facts = None;
            if found.contains(&child) {
                session.missing = None;
            }
        }
    }
    for (id, _) in repeated {
        let session = state.sessions.get(&id);
        outbox.extend(session.map(|s| (id, s.parent.ack(newest.get(&id).copied()))));
    }
    for (child, report, _) in answers {
        let newest = newest.get(&child).copied();
        outbox.extend(send::answer(context, state, child, &report, &point, newest).await?);
    }
    Ok(outbox)
}

/// How often one child's reports about what is another's are written to the audit: one that goes on lying fills no disk.
const AUDIT_PAUSE: Duration = Duration::from_secs(60);

/// The entry about a child that told of what is another's, unless there was one lately.
fn audit(
    context: &Context,
    state: &mut State,
    child: Option<&Child>,
    object: String,
    now: Time,
) -> Option<AuditRecord> {
    let (child, boot) = (child?, context.clock.boot());
    let before = state.told_off.get(&child.id);
    if before.is_some_and(|before| boot.since(*before) < AUDIT_PAUSE) {
        return None;
    }
    state.told_off.insert(child.id, boot);
    let kind = match context.own {
        Owner::Root => PrincipalKind::Cluster,
        Owner::Cluster(_) => PrincipalKind::Worker,
    };
    let who = Principal::machine(kind, child.id.to_string(), child.display());
    let target = Target {
        object,
        ..Target::default()
    };
    let target =
        target.with("it is another one's; more of the kind within a minute is not written");
    Some(Actor::of(&who).was_refused(now, "Report", target))
}

/// The newest order that the child should have applied, if there is one that it has not; else what it has applied. It is
/// read in the transaction that records: so an Ack grants a lease only to a child that knows every order that was
/// committed before its report, and silence is counted from that report on.
async fn newest_order(
    tx: &dyn WriteTx,
    child: ChildId,
    applied: Option<Accepted>,
    point: &Accepted,
) -> Result<u64, StoreError> {
    let follows = |a: &Accepted| a.lineage == point.lineage && a.issuer_epoch == point.issuer_epoch;
    let applied = applied.filter(follows).map(|a| a.revision);
    let filter = AssignmentFilter {
        child: Some(child),
        ordered_after: applied,
        ..Default::default()
    };
    let newer = tx.assignments(&filter).await?;
    let newest = newer.iter().map(|a| a.order_revision).max();
    Ok(newest.or(applied).unwrap_or(0))
}

/// Whether the child's states are those that are recorded, with this report.
fn agrees(work: &Work, child: ChildId, report: &v1::Report) -> bool {
    let held = work
        .of_child(child)
        .filter(|a| a.desired != Desired::Stop)
        .map(|a| (a.id, a.observed.phase, a.observed.restarts));
    convert::digest(&report.states_digest) == Some(digest::states(held))
}

/// Notes that a child was heard and what it offers. `known` says that everything it runs is recorded: until then a child
/// that was silent is Returning, and nothing is decided about what it runs.
fn heard(
    context: &Context,
    work: &mut Work,
    id: ChildId,
    offered: Option<Capacity>,
    completes_full: bool,
    known: bool,
) {
    work.change_child(id, |child| {
        child.holder = Some(context.replica);
        if completes_full {
            child.adopting = false;
        }
        child.silence = Duration::ZERO;
        // A fence ended the session before it, so this report came after it.
        if child.replace != Replace::Fenced || completes_full {
            child.replace = Replace::No;
        }
        let returned = known && !child.adopting && child.replace == Replace::No;
        child.state = match child.state {
            ChildState::Left => ChildState::Left,
            ChildState::Ready if !child.adopting => ChildState::Ready,
            _ if returned => ChildState::Ready,
            _ => ChildState::Returning,
        };
        if let Some(offered) = offered {
            child.capacity = offered;
        }
    });
}

/// What a child offers. The revision that it includes is one of this database only if the child follows it.
pub(super) fn capacity(
    offered: &v1::Capacity,
    applied: Option<&Accepted>,
    point: &Accepted,
) -> Capacity {
    let mut capacity = convert::capacity_from_wire(offered);
    let follows = |a: &Accepted| a.lineage == point.lineage && a.issuer_epoch == point.issuer_epoch;
    if !applied.is_some_and(follows) {
        capacity.includes_revision = 0;
    }
    capacity
}

/// Records one entry.
fn take(context: &Context, work: &mut Work, child: ChildId, entry: &v1::InstanceReport, now: Time) {
    let (Ok(id), Ok(mut observed)) = (
        convert::id::<AssignmentId>("id", &entry.id),
        convert::observed_from_wire(entry, now),
    ) else {
        warn_seldom!(%child, id = entry.id, "entry that cannot be understood is held back");
        return;
    };
    let Ok(owner) = owned::owner(entry) else {
        warn_seldom!(%child, id = entry.id, owner = entry.owner, "entry with an unreadable owner is held back");
        return;
    };
    let known = work.assignment(id).cloned();
    if let Some(before) = known
        .as_ref()
        .and_then(|known| known.observed.running_since)
    {
        steady(before, &mut observed);
    }
    if context.own == Owner::Root && owner == Owner::Cluster(child) {
        return owned::instance(work, child, id, entry, observed, now);
    }
    let Some(mut assignment) = known else {
        return meet(work, child, id, entry, owner, observed, now);
    };
    if assignment.child != child && !plant::on(Plant::StatusWithoutOwner) {
        warn_seldom!(%child, instance = %id, "report about another child's assignment dropped");
        work.foreign(child, format!("instance/{id}"));
        return;
    }
    let order = Recorded {
        generation: assignment.generation,
        desired: assignment.desired,
        restart_count: assignment.restart_count,
    };
    let mut ordered = false;
    match verdict::judge(order, entry, &observed) {
        Verdict::Done => {
            info!(application = %assignment.app.name, service = %assignment.service, ordinal = assignment.ordinal, instance = %id, "stopped");
            return work.delete(id);
        }
        Verdict::Moot => return,
        Verdict::Refused => {
            let rejection = entry.rejection.clone().unwrap_or_default();
            if observed.is_handed_back() && context.own == Owner::Root {
                return handed_back(context, work, assignment, &rejection, observed, now);
            }
            return refused(context, work, assignment, &rejection, observed, now);
        }
        Verdict::Record => {}
        Verdict::Renew { generation, resend } => {
            assignment.generation = generation;
            ordered = resend;
        }
    }
    if observed.phase != assignment.observed.phase {
        debug!(application = %assignment.app.name, service = %assignment.service, ordinal = assignment.ordinal, instance = %id, phase = ?observed.phase, reason = observed.reason, "phase");
    }
    assignment.observed = observed;
    work.put(assignment, ordered);
}

/// An age is cut to milliseconds on its way; the same start must not count as a new one.
fn steady(before: Time, observed: &mut Observed) {
    if let Some(after) = observed.running_since
        && before.since(after).max(after.since(before)) < Duration::from_secs(2)
    {
        observed.running_since = Some(before);
    }
}

/// The child refuses an assignment that is wanted: it is told to stop it, and the slot looks for another place.
fn refused(
    context: &Context,
    work: &mut Work,
    mut assignment: Assignment,
    rejection: &v1::Rejection,
    observed: Observed,
    now: Time,
) {
    let child = assignment.child;
    remember(
        context,
        work,
        &assignment,
        rejection,
        ("Refused", "was refused"),
        now,
    );
    if rejection.reason() == v1::RejectionReason::Tombstoned {
        // Only a database that is older than the truth wants what it has stopped for good. The parent may not want it any
        // more either, so it is given the time to say so before anything is started in its place.
        let incarnation = Incarnation {
            instance: assignment.id,
            worker: child,
            worker_name: work
                .child(child)
                .and_then(|c| c.name.as_ref())
                .map_or_else(String::new, ToString::to_string),
        };
        work.change_slot(assignment.slot, |slot| {
            if let Some(upstream) = &mut slot.upstream {
                upstream.recorded = Some(incarnation);
                upstream.hold_until = now + context.times.adopt_window;
            }
        });
    }
    // Also what is buried is told to stop: it may still be stopping there, and only the answer to that says that it is gone.
    assignment.generation = assignment.generation.max(observed.generation) + 1;
    assignment.desired = Desired::Stop;
    assignment.observed = observed;
    work.put(assignment, true);
}

/// The child cannot hear what runs of an assignment and has no room for a substitute: the slot looks for another place. What
/// may run there keeps its order, so that the two are compared when it is heard again.
fn handed_back(
    context: &Context,
    work: &mut Work,
    mut assignment: Assignment,
    rejection: &v1::Rejection,
    observed: Observed,
    now: Time,
) {
    if !assignment.observed.is_handed_back() {
        let words = ("HandedBack", "cannot be heard, and was handed back");
        remember(context, work, &assignment, rejection, words, now);
    }
    assignment.observed = observed;
    work.put(assignment, false);
}

/// Notes that a child does not take a slot, and why: it is not asked again for a while.
fn remember(
    context: &Context,
    work: &mut Work,
    assignment: &Assignment,
    rejection: &v1::Rejection,
    (word, sentence): (&str, &str),
    now: Time,
) {
    let child = assignment.child;
    let message = rejection.message.clone();
    info!(application = %assignment.app.name, service = %assignment.service, ordinal = assignment.ordinal, instance = %assignment.id, %child, reason = message, "{sentence}");
    work.write(Write::PutEvent(Event {
        at: now,
        namespace: assignment.app.namespace.to_string(),
        subject: format!("application/{}", assignment.app.name),
        reason: word.to_owned(),
        message: format!(
            "{}/{} {sentence}: {message}",
            assignment.service, assignment.ordinal
        ),
    }));
    work.change_slot(assignment.slot, |slot| {
        let before = slot.refusals.iter().find(|r| r.child == child);
        // What it said long ago says nothing about now.
        let before = before.filter(|r| now.since(r.until) < LONGEST_REFUSAL);
        let times = before.map_or(0, |r| r.times) + 1;
        // A buried id is a fault of the id: the child takes the slot under another one, unless it refuses that one too.
        let buried = times == 1 && rejection.reason() == v1::RejectionReason::Tombstoned;
        let wait = if buried {
            Duration::ZERO
        } else {
            context.times.refusal_wait(times)
        };
        slot.refusals.retain(|r| r.child != child);
        slot.refusals.push(Refusal {
            child,
            message,
            until: now + wait,
            times,
        });
    });
}

/// A child reports what this database does not know: it is matched with its slot, stopped if it was stopped before, or
/// held. The engine adopts a held one whose slot wants it.
fn meet(
    work: &mut Work,
    child: ChildId,
    id: AssignmentId,
    entry: &v1::InstanceReport,
    owner: Owner,
    observed: Observed,
    now: Time,
) {
    if observed.phase == Phase::Stopped || entry.rejection.is_some() {
        return;
    }
    let (Ok(slot_id), Ok(spec_hash)) = (
        convert::id::<SlotId>("slot_id", &entry.slot_id),
        convert::spec_hash(&entry.spec_hash),
    ) else {
        warn_seldom!(%child, instance = %id, "unknown instance without a readable slot or spec is left alone");
        return;
    };
    let awaited = |slot: &Slot| {
        let at = slot.upstream.as_ref().and_then(|up| up.recorded.as_ref());
        at.is_some_and(|at| at.instance == id)
    };
    if work.slot(slot_id).is_some_and(awaited) {
        work.change_slot(slot_id, |slot| {
            // It is here: nothing waits for it once it is gone again.
            if let Some(upstream) = &mut slot.upstream {
                upstream.recorded = None;
            }
        });
    }
    let buried = work.is_tombstoned(id.0) || work.is_tombstoned(slot_id.0);
    let slot = work.slot(slot_id);
    let app = slot.map_or_else(
        || AppKey {
            owner,
            namespace: Name::from_any(&entry.namespace),
            name: Name::from_any(&entry.application),
        },
        |slot| slot.app.clone(),
    );
    let assignment = Assignment {
        id,
        slot: slot_id,
        app,
        app_uid: slot.map_or_else(
            || convert::id("uid", &entry.application_uid).unwrap_or_default(),
            |s| s.app_uid,
        ),
        service: Name::from_any(&entry.service),
        ordinal: entry.ordinal,
        child,
        generation: if buried {
            observed.generation + 1
        } else {
            observed.generation
        },
        desired: if buried { Desired::Stop } else { Desired::Hold },
        restart_count: observed.restart_count,
        spec_hash,
        demand: slot.map(|s| s.demand).unwrap_or_default(),
        observed,
        created_at: now,
        order_revision: 0,
        revision: 0,
    };
    info!(application = entry.application, service = entry.service, ordinal = entry.ordinal, instance = %id, %child, buried, "found an instance that is not in the database");
    work.found.insert(child);
    work.put(assignment, buried);
}
