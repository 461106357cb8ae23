//! One instance in memory: its ledger line, what its runtime shows, and what is under way for it.

use std::time::Duration;

use edgeio_domain::{
    ids::AssignmentId,
    lifecycle::{Event, Phase},
    node::{Entry, Order, Status},
    plan::instance::Seen,
    time::Time,
};
use tracing::debug;

use super::types::{Fault, Now, OpKind, Sight};
use crate::runtime::RuntimeKind;

/// Reason while the runtime does not answer.
pub(super) const UNREACHABLE: &str = "RuntimeUnreachable";

/// What is under way for an instance.
#[derive(Clone, Debug)]
pub(super) struct Busy {
    pub(super) kind: OpKind,
    /// The restart count that the work carries out, when it is a restart.
    pub(super) restart_count: u32,
    pub(super) cancelled: bool,
}

/// One instance.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) entry: Entry,
    /// Rises with each change that the parent shall know.
    pub(super) version: u64,
    /// The ledger does not have it so yet.
    pub(super) dirty: bool,
    pub(super) seen: Seen,
    /// Where it runs: from its spec, or where it was found.
    pub(super) runtime: Option<RuntimeKind>,
    pub(super) busy: Option<Busy>,
    /// The node's count of finished work when work for this instance last ended: listings that were asked for before it
    /// show the past.
    pub(super) fresh: u64,
    /// The runtime hinted at a change.
    pub(super) look: bool,
    /// Its last output shall be read.
    pub(super) tail: bool,
    /// Nothing is tried before this, on CLOCK_BOOTTIME.
    pub(super) wait: Option<Time>,
    /// Tries that failed in a row, other than starts.
    pub(super) tries: u32,
    /// What it was before a start was planned that has not begun.
    pub(super) planned: Option<Planned>,
}

/// A unit before a start was planned: as it is again if the start cannot be noted.
#[derive(Debug)]
pub(super) struct Planned {
    status: Status,
    version: u64,
    dirty: bool,
}

impl Unit {
    /// A unit whose entry is durable.
    pub(super) fn new(entry: Entry, runtime: Option<RuntimeKind>) -> Self {
        let failed = entry.status.phase == Phase::Failed;
        Self {
            entry,
            version: 1,
            dirty: false,
            seen: Seen::Unknown,
            runtime,
            busy: None,
            fresh: 0,
            look: false,
            tail: failed,
            wait: None,
            tries: 0,
            planned: None,
        }
    }

    pub(super) fn id(&self) -> AssignmentId {
        self.entry.order.id
    }

    /// Changes the status; notes whether the parent or the ledger must learn of it.
    pub(super) fn change(&mut self, change: impl FnOnce(&Order, &mut Status)) {
        let before = self.entry.status.clone();
        change(&self.entry.order, &mut self.entry.status);
        if before == self.entry.status {
            return;
        }
        self.version += 1;
        self.dirty |= lasting(before) != lasting(self.entry.status.clone());
    }

    /// A start is planned: what follows is of its plan.
    pub(super) fn plan_start(&mut self) {
        self.planned = Some(Planned {
            status: self.entry.status.clone(),
            version: self.version,
            dirty: self.dirty,
        });
    }

    /// The planned start could not be noted, so it does not happen: it counts as no try, and no restart waits longer for it.
    pub(super) fn unplan(&mut self) {
        if let Some(before) = self.planned.take() {
            self.entry.status = before.status;
            self.version = before.version;
            self.dirty = before.dirty;
        }
    }

    /// A newer order is durable.
    pub(super) fn replace(&mut self, entry: Entry) {
        if self.entry != entry {
            self.version += 1;
        }
        self.entry = entry;
        self.wait = None;
        self.tries = 0;
    }

    /// Takes what the runtime shows.
    pub(super) fn see(&mut self, runtime: &RuntimeKind, mut sight: Sight, now: Now) {
        self.look = false;
        self.tries = 0;
        if sight.seen != Seen::Absent {
            self.runtime = Some(runtime.clone());
        }
        let since = sight.running_since.or(self.entry.status.running_since);
        if let Seen::Exited(exit) = &mut sight.seen
            && exit.ran.is_none()
            && let (Some(end), Some(start)) = (sight.finished_at, since)
        {
            exit.ran = Some(end.since(start));
        }
        self.seen = sight.seen.clone();
        self.change(|_, status| {
            if status.reason == UNREACHABLE {
                status.reason.clear();
                status.message.clear();
            }
            if sight.seen == Seen::Absent {
                return;
            }
            status.touched = true;
            runtime.as_str().clone_into(&mut status.runtime);
            if !sight.handle.is_empty() {
                status.handle = sight.handle;
            }
            if !sight.image_digest.is_empty() {
                status.image_digest = sight.image_digest;
            }
            if sight.seen == Seen::Created
                && !status.phase.is_terminal()
                && status.running_since.take().is_some()
            {
                // It ran, and its own keeper ended it since its lease was over: it is to be started again.
                step(status, Event::WillRestart);
            }
            let event = match sight.seen {
                Seen::Running => Event::SeenRunning,
                Seen::Paused => Event::SeenPaused,
                Seen::Unknown | Seen::Absent | Seen::Created | Seen::Exited(_) => return,
            };
            if matches!(
                status.phase,
                Phase::Completed | Phase::Failed | Phase::Stopped
            ) {
                return;
            }
            if status.phase != Phase::Stopping {
                status.reason.clear();
                status.message.clear();
                status.not_before = None;
            }
            step(status, event);
            status.running_since = sight
                .running_since
                .or(status.running_since)
                .or(Some(now.wall));
        });
    }

    /// The runtime could not be asked.
    pub(super) fn lose_sight(&mut self, fault: &Fault) {
        self.seen = Seen::Unknown;
        self.change(|_, status| {
            if !status.phase.is_terminal() {
                UNREACHABLE.clone_into(&mut status.reason);
                status.message.clone_from(&fault.message);
            }
        });
    }

    /// Something other than a start failed: it is tried again later.
    pub(super) fn try_later(&mut self, now: Now) {
        self.tries = self.tries.saturating_add(1);
        self.wait = Some(now.boot + pause(self.tries));
    }
}

/// Wait after the `tries`-th failure in a row: 1 s, doubling, 30 s at most. Looking is cheap, and an engine that was
/// restarted shall be seen soon.
pub(super) fn pause(tries: u32) -> Duration {
    edgeio_domain::backoff::wait(tries).min(Duration::from_secs(30))
}

/// Moves the phase; what the table does not know is left as it is.
pub(super) fn step(status: &mut Status, event: Event) {
    match status.phase.step(event) {
        Ok(phase) => status.phase = phase,
        Err(illegal) => debug!(%illegal, "phase stays"),
    }
}

/// The part of a status that steers what comes after a restart of the agent. Words for people come again by themselves,
/// except where nothing comes any more.
fn lasting(mut status: Status) -> Status {
    status.output_tail.clear();
    if !status.phase.is_terminal() {
        status.reason.clear();
        status.message.clear();
    }
    status
}
