//! What a worker knows of one instance. The ledger keeps these; the planner of the node reads them.

use crate::{
    ids::{AssignmentId, SlotId, SpecHash},
    lifecycle::Phase,
    records::Desired,
    time::Time,
};

/// The newest order for an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// The instance.
    pub id: AssignmentId,
    /// Its slot.
    pub slot: SlotId,
    /// Orders the orders.
    pub generation: u64,
    /// What is wanted.
    pub desired: Desired,
    /// Restarts that users asked for.
    pub restart_count: u32,
    /// What it runs.
    pub spec_hash: SpecHash,
    /// Image digest that instances of the spec use, or empty.
    pub image_digest: String,
    /// Namespace.
    pub namespace: String,
    /// Application.
    pub application: String,
    /// The application's uid.
    pub application_uid: String,
    /// Service.
    pub service: String,
    /// The replica's number.
    pub ordinal: u32,
    /// Who owns the application: the id of a cluster; empty for the root.
    pub owner: String,
}

/// How an instance fares.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The phase.
    pub phase: Phase,
    /// A stable word for why.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// Exit code of the last run that ended.
    pub exit_code: Option<i32>,
    /// How often it was started again by policy.
    pub restarts: u32,
    /// Failures in a row, for the backoff.
    pub failures: u32,
    /// Since when it runs, by the worker's wall clock.
    pub running_since: Option<Time>,
    /// It is not started before this.
    pub not_before: Option<Time>,
    /// Up to 4 KiB of its last output.
    pub output_tail: Vec<u8>,
    /// The image digest that it uses.
    pub image_digest: String,
    /// How the runtime names it.
    pub handle: String,
    /// Why the worker does not take it.
    pub rejection: Option<Rejection>,
    /// The restart count that was carried out.
    pub restarted: u32,
    /// A start was attempted: the runtime may have something of it.
    pub touched: bool,
    /// No snapshot names it: it is held.
    pub orphan: bool,
    /// The runtime that it was started in, or empty. The worker's own note: not told upward.
    pub runtime: String,
}

/// Why a worker does not take an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// What kind.
    pub reason: RejectionReason,
    /// For people.
    pub message: String,
}

/// Kinds of refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RejectionReason {
    /// The id was stopped before.
    Tombstoned,
    /// It fits nowhere in the child.
    Unplaceable,
    /// The runtime or a feature is missing.
    Unsupported,
    /// The spec could not be read.
    InvalidSpec,
    /// It does not want it now, for a reason of its own.
    Unwilling,
}

/// One line of the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What is wanted.
    pub order: Order,
    /// How it fares.
    pub status: Status,
}
