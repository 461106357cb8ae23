//! The parent's half of the link: what to answer a child whose report is recorded, and what to send when orders change.
//!
//! One [`Parent`] is one session. It decides from what the child says it has applied, so it can be lost and made again at
//! any time: at worst something is sent twice.

#[cfg(test)]
mod tests;

use std::time::Duration;

use edgeio_domain::{
    child::Accepted,
    digest::Digest16,
    plant::{self, Plant},
    time::Time,
};
use edgeio_proto::link::v1::{self, parent_message};

use crate::{
    chunk::{self, Assembly},
    convert,
};

/// How long sent orders may be unanswered before they are sent again. The child answers each at once.
const SEND_AGAIN: Duration = Duration::from_secs(3);
/// How long an asked-for report may be missing before it is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// Pauses between questions about unanswered orders double so often: 3 s up to 96 s.
const MOST_DOUBLINGS: u32 = 5;

/// What the parent's database says about the child, after the report was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The parent's lineage, issuer epoch and newest revision.
    pub point: Accepted,
    /// Revision of the newest order for this child; 0 without any.
    pub newest_order: u64,
    /// Digest over the orders that the child shall hold.
    pub assignments: Digest16,
    /// Digest over the states that are recorded.
    pub states: Digest16,
    /// Digest over the applications of the child that are recorded.
    pub applications: Digest16,
}

/// What to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Send {
    /// All entries.
    Snapshot,
    /// The entries whose order changed after this revision.
    Delta {
        /// The child holds this.
        from: u64,
    },
    /// Ask for a full report.
    AskFull,
    /// Ask for all applications that the child owns.
    AskApplications,
}

/// The parent's half of one session.
#[derive(Debug)]
pub struct Parent {
    /// The session's number.
    pub epoch: u64,
    /// Nothing is sent before a full report is recorded.
    pub awaiting_full: bool,
    /// The newest report that came.
    seq: u64,
    /// Every report up to this one is recorded. Behind it a report is missing, until a full one has told everything.
    recorded: u64,
    sent: Option<Sent>,
    /// Everything was told since the last snapshot.
    told: bool,
    /// How often the child was asked about the orders that were sent last, and when it was asked last.
    nudges: (u32, Time),
    asked: Option<Time>,
    /// When all applications of the child were asked for last.
    asked_applications: Option<Time>,
    /// Parts of a full report, by the number of its first one.
    full: Assembly<u64, ()>,
    /// The first number of the newest full report of which all parts came.
    completed: u64,
}

/// The orders that were sent last.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// What the child must have applied to use them; 0 for a snapshot.
    from: u64,
    /// What it has applied with them.
    to: u64,
    at: Time,
}

impl Sent {
    fn is_snapshot(&self) -> bool {
        self.from == 0
    }

    /// Whether they may still be on their way to a child that has applied that much.
    fn may_arrive(&self, applied: u64, now: Time) -> bool {
        (self.from..self.to).contains(&applied) && now.since(self.at) < SEND_AGAIN
    }
}

/// How a report meets its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// Record it.
    Record {
        /// With this report, everything that the child knows was told.
        completes_full: bool,
    },
    /// It was recorded before: acknowledge it again.
    Repeated,
    /// It is not of this session.
    Stale,
}

/// The number of the first part of a full report, which names it: its parts have consecutive numbers.
#[must_use]
pub fn first_part(report: &v1::Report) -> u64 {
    report.seq.saturating_sub(u64::from(report.chunk))
}

impl Parent {
    /// A session that was just opened, or taken up again after the parent was restarted.
    #[must_use]
    pub fn new(epoch: u64, awaiting_full: bool) -> Self {
        Self {
            epoch,
            awaiting_full,
            seq: 0,
            recorded: 0,
            sent: None,
            told: false,
            nudges: (0, Time(0)),
            asked: None,
            asked_applications: None,
            full: Assembly::default(),
            completed: 0,
        }
    }

    /// Takes the numbers of a report. The caller records it before it calls [`Parent::answer`].
    pub fn receive(&mut self, report: &v1::Report) -> Receipt {
        if report.session_epoch != self.epoch {
            return Receipt::Stale;
        }
        if report.seq <= self.seq && !self.is_late_part(report) {
            if !plant::on(Plant::SeqReset) {
                return Receipt::Repeated;
            }
            self.seq = report.seq.saturating_sub(1);
            self.recorded = self.seq;
        }
        if Some(report.seq) == self.recorded.checked_add(1) {
            self.recorded = report.seq;
        }
        self.seq = self.seq.max(report.seq);
        let first = first_part(report);
        let completes_full = report.full
            && self
                .full
                .add(first, report.chunk, report.chunks, ())
                .is_some();
        if completes_full {
            self.completed = first;
            self.recorded = self.seq;
            self.told = true;
            self.awaiting_full = false;
            self.asked = None;
        }
        Receipt::Record { completes_full }
    }

    /// Whether a report that others overtook is still of use: a part of a full report, overtaken only by other parts of it.
    /// They tell of the same moment, so their order is no matter.
    fn is_late_part(&self, report: &v1::Report) -> bool {
        let first = first_part(report);
        report.full
            && first != self.completed
            && self.seq < first.saturating_add(u64::from(report.chunks))
            && !self.full.has(&first, report.chunk)
    }

    /// What to send after a report was recorded.
    pub fn answer(&mut self, report: &v1::Report, facts: &Facts, now: Time) -> Option<Send> {
        if report.full && first_part(report) != self.completed {
            // Its other parts are on their way.
            return None;
        }
        if self.awaiting_full {
            return self.ask(now);
        }
        let applied = report
            .applied
            .as_ref()
            .and_then(|a| convert::accepted_from_wire(a).ok());
        let known = applied.filter(|a| {
            a.lineage == facts.point.lineage
                && (a.issuer_epoch == facts.point.issuer_epoch
                    || plant::on(Plant::DeltaAcrossEpoch))
        });
        let waits = |applied| self.sent.is_some_and(|sent| sent.may_arrive(applied, now));
        let Some(known) = known else {
            return (!waits(0)).then_some(Send::Snapshot);
        };
        if known.revision < facts.newest_order {
            return (!waits(known.revision)).then_some(Send::Delta {
                from: known.revision,
            });
        }
        if self.recorded < self.seq {
            // Before digests: what is missing may be why they differ.
            return self.ask(now);
        }
        let orders = convert::digest(&report.assignments_digest);
        if orders.is_some_and(|digest| digest != facts.assignments) {
            let applied = self
                .sent
                .is_some_and(|sent| sent.is_snapshot() && known.revision >= sent.to);
            if applied && !self.told {
                // The snapshot was no cure: the child holds what this database does not know of.
                return self.ask(now);
            }
            let fresh = self
                .sent
                .is_none_or(|sent| now.since(sent.at) >= SEND_AGAIN);
            return fresh.then_some(Send::Snapshot);
        }
        let differs =
            convert::digest(&report.states_digest).is_some_and(|digest| digest != facts.states);
        if differs {
            return self.ask(now);
        }
        if let Some(sent) = &mut self.sent {
            // Both agree without what may have been sent beyond this.
            sent.to = sent.to.min(known.revision);
        }
        self.ask_applications(report, facts, now)
    }

    fn ask_applications(&mut self, report: &v1::Report, facts: &Facts, now: Time) -> Option<Send> {
        let told = convert::digest(&report.applications_digest)?;
        if told == facts.applications {
            self.asked_applications = None;
            return None;
        }
        let fresh = self
            .asked_applications
            .is_none_or(|at| now.since(at) >= ASK_AGAIN);
        fresh.then(|| {
            self.asked_applications = Some(now);
            Send::AskApplications
        })
    }

    fn ask(&mut self, now: Time) -> Option<Send> {
        let fresh = self.asked.is_none_or(|at| now.since(at) >= ASK_AGAIN);
        fresh.then(|| {
            self.asked = Some(now);
            Send::AskFull
        })
    }

    /// What to send when orders changed, without a word from the child.
    #[must_use]
    pub fn push(&self, applied: u64, newest_order: u64) -> Option<Send> {
        if self.awaiting_full {
            return None;
        }
        let from = self.sent.map_or(applied, |sent| sent.to.max(applied));
        (from < newest_order).then_some(Send::Delta { from })
    }

    /// Whether to ask a child about orders that it has not said to have applied: they or its answer may be lost. It is asked
    /// with growing pauses, since it may be away; its report is answered with what it lacks.
    pub fn nudge(&mut self, applied: u64, now: Time) -> bool {
        if self.sent.is_none_or(|sent| applied >= sent.to) {
            return false;
        }
        let (times, last) = self.nudges;
        let due = now.since(last) >= SEND_AGAIN * (1 << times.min(MOST_DOUBLINGS));
        if due {
            self.nudges = (times + 1, now);
        }
        due
    }

    /// Whether orders were sent in this session.
    #[must_use]
    pub fn has_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// Builds a snapshot or delta and notes that it is sent.
    pub fn entries(
        &mut self,
        send: Send,
        point: Accepted,
        entries: Vec<v1::Assignment>,
        specs: Vec<v1::Spec>,
        now: Time,
    ) -> Vec<v1::ParentMessage> {
        self.nudges = (0, now);
        self.told &= matches!(send, Send::Delta { .. });
        self.sent = Some(Sent {
            from: if let Send::Delta { from } = send {
                from
            } else {
                0
            },
            to: point.revision,
            at: now,
        });
        let mut parts: Vec<(Vec<v1::Assignment>, Vec<v1::Spec>)> = chunk::split(specs)
            .into_iter()
            .filter(|p| !p.is_empty())
            .map(|p| (Vec::new(), p))
            .collect();
        parts.extend(chunk::split(entries).into_iter().map(|p| (p, Vec::new())));
        // Two parts of entries are no specs and entries.
        if let [(none, specs), (entries, _)] = &mut parts[..]
            && none.is_empty()
        {
            let size =
                |list: &[v1::Spec]| list.iter().map(prost::Message::encoded_len).sum::<usize>();
            let small: usize = entries.iter().map(prost::Message::encoded_len).sum();
            if size(specs) + small <= chunk::limit() {
                parts = vec![(std::mem::take(entries), std::mem::take(specs))];
            }
        }
        let chunks = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let lineage = point.lineage.to_string();
        let message = |(chunk, (entries, specs)): (usize, (Vec<v1::Assignment>, Vec<v1::Spec>))| {
            let chunk = u32::try_from(chunk).unwrap_or(u32::MAX);
            let (lineage, issuer_epoch) = (lineage.clone(), point.issuer_epoch);
            let body = match send {
                Send::Delta { from } => parent_message::Message::Delta(v1::Delta {
                    lineage,
                    issuer_epoch,
                    from_revision: from,
                    to_revision: point.revision,
                    entries,
                    specs,
                    chunk,
                    chunks,
                }),
                Send::Snapshot | Send::AskFull | Send::AskApplications => {
                    parent_message::Message::Snapshot(v1::Snapshot {
                        lineage,
                        issuer_epoch,
                        revision: point.revision,
                        entries,
                        specs,
                        chunk,
                        chunks,
                    })
                }
            };
            self.wrap(body)
        };
        parts.into_iter().enumerate().map(message).collect()
    }

    /// Puts a message into this session's envelope.
    #[must_use]
    pub fn wrap(&self, message: parent_message::Message) -> v1::ParentMessage {
        v1::ParentMessage {
            session_epoch: self.epoch,
            message: Some(message),
        }
    }

    /// Asks for a report.
    #[must_use]
    pub fn request(&self, full: bool) -> v1::ParentMessage {
        self.ask_for(v1::ReportRequest {
            full,
            ..Default::default()
        })
    }

    /// Asks for a report with all that is named.
    #[must_use]
    pub fn ask_for(&self, request: v1::ReportRequest) -> v1::ParentMessage {
        self.wrap(parent_message::Message::ReportRequest(request))
    }

    /// Says what is recorded: no report behind one that is missing. With `newest_order`, read in the transaction that
    /// recorded, it also renews the lease of exclusive instances.
    #[must_use]
    pub fn ack(&self, newest_order: Option<u64>) -> v1::ParentMessage {
        self.wrap(parent_message::Message::Ack(v1::Ack {
            recorded_seq: self.recorded,
            newest_order,
        }))
    }
}
