//! What the child says: Hello until it is answered, then reports.

use edgeio_domain::{
    digest::Digest16,
    ids::{AppUid, AssignmentId},
    node::RejectionReason,
    time::Time,
};
use edgeio_proto::link::v1::{self, child_message};

use super::{Child, HELLO_AGAIN, REPORT_AGAIN, Session, View};
use crate::{chunk, convert, reports::StateVersion, version::feature};

impl Child {
    /// What to send now.
    pub fn poll(&mut self, view: &View<'_>, now: Time) -> Vec<v1::ChildMessage> {
        match self.session {
            Session::Down => Vec::new(),
            Session::Opening { again } if now < again => Vec::new(),
            Session::Opening { .. } => {
                self.session = Session::Opening {
                    again: now + HELLO_AGAIN,
                };
                vec![self.hello(view)]
            }
            Session::Open(open) => self.report(open.epoch, view, now),
        }
    }

    fn hello(&self, view: &View<'_>) -> v1::ChildMessage {
        wrap(child_message::Message::Hello(v1::Hello {
            protocol_min: *self.offer.spoken.start(),
            protocol_max: *self.offer.spoken.end(),
            features: self.offer.names(),
            child_id: self.identity.id.to_string(),
            attach_id: self.attach.to_string(),
            boot_id: self.identity.boot_id.clone(),
            accepted: self.accepted.as_ref().map(convert::accepted_to_wire),
            version: self.identity.version.clone(),
            capacity: Some(view.capacity.1.clone()),
        }))
    }

    fn report(&mut self, epoch: u64, view: &View<'_>, now: Time) -> Vec<v1::ChildMessage> {
        let states = || view.states.iter().copied();
        let full = std::mem::take(&mut self.full);
        let again = self
            .unanswered_since
            .is_some_and(|since| now.since(since) >= REPORT_AGAIN);
        let tell: Vec<(AssignmentId, StateVersion)> = if full {
            states().collect()
        } else if again {
            self.reports.unrecorded(states()).collect()
        } else {
            self.reports.untold(states()).collect()
        };
        let owned = self.owned(view, full, again);
        // A full report cures a lost one, which may have had the capacity in it.
        let capacity =
            (full || self.capacity_told != Some(view.capacity.0)).then(|| view.capacity.1.clone());
        let hurry = std::mem::take(&mut self.hurry);
        let beat = now.since(self.told_at) >= self.beat();
        if !(full
            || hurry
            || beat
            || !tell.is_empty()
            || capacity.is_some()
            || !self.gone.is_empty()
            || owned.as_ref().is_some_and(|told| told.is_news()))
        {
            if again {
                // A heartbeat went unanswered and there is nothing to repeat: the next one will tell.
                self.unanswered_since = Some(now);
            }
            return Vec::new();
        }
        self.capacity_told = Some(view.capacity.0);
        self.told_at = now;
        if self.unanswered_since.is_none() || again {
            self.unanswered_since = Some(now);
        }
        self.specs_asked.clear();
        let mut entries: Vec<v1::InstanceReport> = tell
            .iter()
            .filter_map(|(id, _)| (view.render)(*id))
            .collect();
        entries.append(&mut self.gone);
        let parts = chunk::split(entries);
        let last = parts.len() - 1;
        let mut out = Vec::with_capacity(parts.len());
        let mut versions = tell.into_iter();
        for (index, entries) in parts.into_iter().enumerate() {
            // What is gone has no version; it comes last and takes none.
            let told: Vec<_> = versions.by_ref().take(entries.len()).collect();
            let whole = index == last;
            out.push((
                told,
                v1::Report {
                    assignments_digest: if whole {
                        view.assignments.to_vec()
                    } else {
                        Vec::new()
                    },
                    states_digest: if whole {
                        view.digest.to_vec()
                    } else {
                        Vec::new()
                    },
                    entries,
                    full,
                    chunk: u32::try_from(index).unwrap_or(u32::MAX),
                    chunks: u32::try_from(last + 1).unwrap_or(u32::MAX),
                    capacity: if whole { capacity.clone() } else { None },
                    ..Default::default()
                },
            ));
        }
        if let Some(owned) = owned {
            owned.add_to(&mut out);
        }
        let asked: Vec<v1::Spec> = view.specs.to_vec();
        for specs in chunk::split(asked) {
            if !specs.is_empty() {
                out.push((
                    Vec::new(),
                    v1::Report {
                        specs,
                        ..Default::default()
                    },
                ));
            }
        }
        let applied = self.accepted.as_ref().map(convert::accepted_to_wire);
        let number = |(told, report): (Vec<(AssignmentId, StateVersion)>, v1::Report)| {
            wrap(child_message::Message::Report(v1::Report {
                session_epoch: epoch,
                seq: self.reports.send(told, now),
                applied: applied.clone(),
                ..report
            }))
        };
        out.into_iter().map(number).collect()
    }

    /// What is to be told of the applications that the child owns; `None` in a session that does not tell of them.
    fn owned(&mut self, view: &View<'_>, full: bool, again: bool) -> Option<OwnedNews> {
        let owned = view.owned.as_ref();
        let owned = owned.filter(|_| self.has(feature::OWNED_APPLICATIONS))?;
        let all = full | std::mem::take(&mut self.applications_asked);
        // An application's id is told and recorded beside those of assignments: no two things have one UUID.
        let versions = owned.applications.iter();
        let versions = versions.map(|(uid, version)| (AssignmentId(uid.0), *version));
        let versions: Vec<(AssignmentId, StateVersion)> = if all {
            versions.collect()
        } else if again {
            self.reports.unrecorded(versions).collect()
        } else {
            self.reports.untold(versions).collect()
        };
        let rendered = versions
            .iter()
            .filter_map(|(id, _)| (owned.render)(AppUid(id.0)));
        let mut applications: Vec<v1::OwnedApplication> = rendered.collect();
        applications.append(&mut self.gone_applications);
        Some(OwnedNews {
            all,
            applications,
            versions,
            digest: owned.digest,
        })
    }
}

/// A report before it has its number, with the versions that it tells.
type Draft = (Vec<(AssignmentId, StateVersion)>, v1::Report);

/// What is to be told of applications that the child owns.
struct OwnedNews {
    /// They are all that there are.
    all: bool,
    /// First those with a version, then those that are gone.
    applications: Vec<v1::OwnedApplication>,
    versions: Vec<(AssignmentId, StateVersion)>,
    digest: Digest16,
}

impl OwnedNews {
    fn is_news(&self) -> bool {
        self.all || !self.applications.is_empty()
    }

    /// Adds them to the reports: to the last one if there is room, else in reports of their own. The digest goes with the
    /// last of them, since it means that everything before it was told.
    fn add_to(self, out: &mut Vec<Draft>) {
        let mut versions = self.versions.into_iter();
        let parts = chunk::split(self.applications);
        let last = parts.len() - 1;
        for (index, applications) in parts.into_iter().enumerate() {
            let room = out.last().is_some_and(|(_, report)| {
                bytes(&report.entries) + bytes(&applications) <= chunk::CHUNK_BYTES
            });
            if index > 0 || last > 0 || !room {
                out.push(Draft::default());
            }
            let Some((told, report)) = out.last_mut() else {
                continue;
            };
            told.extend(versions.by_ref().take(applications.len()));
            report.applications = applications;
            report.applications_full = self.all;
            report.applications_chunk = u32::try_from(index).unwrap_or(u32::MAX);
            report.applications_chunks = u32::try_from(last + 1).unwrap_or(u32::MAX);
            if index == last {
                report.applications_digest = self.digest.to_vec();
            }
        }
    }
}

/// Room that entries take, with their tags.
fn bytes<T: prost::Message>(entries: &[T]) -> usize {
    entries.iter().map(|entry| entry.encoded_len() + 6).sum()
}

fn wrap(message: child_message::Message) -> v1::ChildMessage {
    v1::ChildMessage {
        message: Some(message),
    }
}

/// Tells that an assignment is not held: it was stopped before, and with a reason also that it is refused for that.
pub(super) fn gone_report(
    assignment: &v1::Assignment,
    reason: Option<RejectionReason>,
) -> v1::InstanceReport {
    v1::InstanceReport {
        id: assignment.id.clone(),
        slot_id: assignment.slot_id.clone(),
        generation: assignment.generation,
        phase: v1::Phase::Stopped.into(),
        rejection: reason.map(|reason| v1::Rejection {
            reason: convert::rejection_to_wire(reason).into(),
            message: "this id was stopped before and is never started again".to_owned(),
        }),
        ..Default::default()
    }
}
