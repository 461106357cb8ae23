//! What the parent says: opening the session, collecting snapshots and deltas, acknowledgements.

use std::time::Duration;

use edgeio_domain::{
    child::Accepted,
    ids::{AttachId, SpecHash},
    plant::{self, Plant},
    time::Time,
};
use edgeio_proto::link::v1::{self, parent_message};

use super::{
    Child, DEFAULT_INTERVAL, FIRST_PAUSE, LONGEST_PAUSE, Open, PEACE, Part, Session, Step,
};
use crate::{
    convert,
    holdings::{Acceptance, Holdings},
};

impl Child {
    /// Takes a message of the parent.
    pub fn receive(
        &mut self,
        message: v1::ParentMessage,
        held: &dyn Holdings,
        now: Time,
    ) -> Vec<Step> {
        if plant::on(Plant::DeafChild) {
            return Vec::new();
        }
        let epoch = message.session_epoch;
        let Some(body) = message.message else {
            return Vec::new();
        };
        match body {
            parent_message::Message::Welcome(welcome) => self.welcome(epoch, &welcome, now),
            parent_message::Message::Refusal(refusal) => self.refused(epoch, &refusal, now),
            _ if !self.is_session(epoch) => Vec::new(),
            parent_message::Message::Snapshot(s) => {
                self.heard_at = now;
                let to = (s.lineage.as_str(), s.issuer_epoch, s.revision);
                self.collect(true, 0, to, (s.chunk, s.chunks), (s.entries, s.specs), held)
            }
            parent_message::Message::Delta(d) => {
                self.heard_at = now;
                if !self.continues(&d) {
                    self.hurry = true;
                    return Vec::new();
                }
                let to = (d.lineage.as_str(), d.issuer_epoch, d.to_revision);
                self.collect(
                    false,
                    d.from_revision,
                    to,
                    (d.chunk, d.chunks),
                    (d.entries, d.specs),
                    held,
                )
            }
            parent_message::Message::Ack(ack) => {
                self.heard_at = now;
                self.unanswered_since = None;
                if let Some(sent) = self.reports.acknowledge(ack.recorded_seq) {
                    let late = plant::on(Plant::TimerFromAck);
                    self.renew(if late { now } else { sent }, ack.newest_order);
                }
                vec![Step::Recorded]
            }
            parent_message::Message::ReportRequest(request) => {
                self.heard_at = now;
                self.full |= request.full;
                self.applications_asked |= request.applications;
                let hashes = request.spec_hashes.iter();
                self.specs_asked
                    .extend(hashes.filter_map(|hash| SpecHash::from_slice(hash)));
                self.hurry = true;
                Vec::new()
            }
        }
    }

    fn is_session(&self, epoch: u64) -> bool {
        matches!(self.session, Session::Open(open) if open.epoch == epoch)
    }

    fn welcome(&mut self, epoch: u64, welcome: &v1::Welcome, now: Time) -> Vec<Step> {
        let mine = convert::id::<AttachId>("attach_id", &welcome.attach_id) == Ok(self.attach);
        if !mine || !matches!(self.session, Session::Opening { .. }) {
            return Vec::new();
        }
        let Ok(lineage) = convert::id("lineage", &welcome.lineage) else {
            return Vec::new();
        };
        match self.offer.take(welcome) {
            Ok(agreed) => self.agreed = agreed,
            Err(nothing) => return vec![Step::Incompatible(nothing.to_string())],
        }
        self.session = Session::Open(Open {
            epoch,
            since: now,
            lineage,
            issuer_epoch: welcome.issuer_epoch,
        });
        self.interval = match welcome.report_interval_ms {
            0 => DEFAULT_INTERVAL,
            ms => Duration::from_millis(u64::from(ms)),
        };
        self.heard_at = now;
        self.full = true;
        self.hurry = true;
        Vec::new()
    }

    fn refused(&mut self, epoch: u64, refusal: &v1::Refusal, now: Time) -> Vec<Step> {
        let opening = matches!(self.session, Session::Opening { .. });
        if !opening && !self.is_session(epoch) {
            return Vec::new();
        }
        match refusal.reason() {
            v1::RefusalReason::UnknownChild => vec![Step::Register(refusal.message.clone())],
            v1::RefusalReason::Protocol => vec![Step::Incompatible(refusal.message.clone())],
            v1::RefusalReason::StaleSession | v1::RefusalReason::Unspecified => self.yields(now),
        }
    }

    /// Another session took the place of this one. It is opened anew after a pause, which grows: two processes with one
    /// identity would else take it from each other without end.
    fn yields(&mut self, now: Time) -> Vec<Step> {
        let Session::Open(open) = self.session else {
            return Vec::new();
        };
        if now.since(open.since) >= PEACE {
            self.superseded = 0;
        }
        let pause = self.pause();
        self.superseded = self.superseded.saturating_add(1);
        self.session = Session::Opening { again: now + pause };
        self.begin();
        vec![Step::Superseded(pause)]
    }

    /// Half of the pause is chance, by the attempt's random id, so that two of one identity do not meet again and again.
    fn pause(&self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.superseded.min(16));
        let half = doubled.min(LONGEST_PAUSE) / 2;
        let [.., chance] = *self.attach.0.as_bytes();
        half + half * u32::from(chance) / 255
    }

    /// Whether a delta begins at or before what is accepted, in the same database.
    fn continues(&self, delta: &v1::Delta) -> bool {
        self.accepted.is_some_and(|point| {
            delta.lineage == point.lineage.to_string()
                && (delta.issuer_epoch == point.issuer_epoch || plant::on(Plant::DeltaAcrossEpoch))
                && delta.from_revision <= point.revision
                && delta.to_revision > point.revision
        })
    }

    fn collect(
        &mut self,
        snapshot: bool,
        from: u64,
        (lineage, issuer_epoch, revision): (&str, u64, u64),
        (chunk, chunks): (u32, u32),
        part: Part,
        held: &dyn Holdings,
    ) -> Vec<Step> {
        let Ok(lineage) = convert::id("lineage", lineage) else {
            return Vec::new();
        };
        let of_session = matches!(self.session, Session::Open(open)
            if open.lineage == lineage && open.issuer_epoch <= issuer_epoch);
        if !of_session {
            return Vec::new();
        }
        let counts = [issuer_epoch, revision];
        if counts.iter().any(|number| *number > convert::MAX_COUNT) {
            // It could not be told as accepted, nor read from the ledger.
            return Vec::new();
        }
        let point = Accepted {
            lineage,
            issuer_epoch,
            revision,
        };
        let older = self.accepted.is_some_and(|have| {
            have.lineage == lineage && (issuer_epoch, revision) < (have.issuer_epoch, have.revision)
        });
        if older {
            self.hurry = true;
            return Vec::new();
        }
        let key = (from, snapshot, point, chunks);
        let parts = match self.assembly.add(key, chunk, chunks, part) {
            Some(parts) => parts,
            None if plant::on(Plant::ApplyPartialFull) && chunk + 1 == chunks => {
                self.assembly.take()
            }
            None => return Vec::new(),
        };
        let (mut entries, mut specs) = (Vec::new(), Vec::new());
        for (some, more) in parts {
            entries.extend(some);
            specs.extend(more);
        }
        vec![Step::Accept(Acceptance::judge(
            point, snapshot, entries, specs, held,
        ))]
    }
}
