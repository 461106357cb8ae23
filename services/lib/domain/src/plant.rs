//! Planted bugs: switches at production lines that the simulator turns on to prove that its invariants would notice.
//!
//! They exist only with the feature `plant`, which no release binary has; without it every switch is the constant
//! `false` and the compiler removes the line. The switch is per thread, so that schedules can run in parallel.
//!
//! A plant never panics and shows in no schedule without a fault: what finds it is an invariant that a fault would break.

/// A marker that the release check looks for in binaries.
#[cfg(feature = "plant")]
pub const MARKER: &str = "edgeio-planted-bug-switches-are-compiled-in";

macro_rules! plants {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// The bugs that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Plant {
            $($(#[$doc])* $name),+
        }

        impl Plant {
            /// All of them.
            pub const ALL: [Plant; [$($word),+].len()] = [$(Plant::$name),+];

            /// Its name on command lines.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Plant::$name => $word),+
                }
            }
        }
    };
}

plants! {
    /// `plan` at a tier finds nothing to do.
    EmptyPlan = "empty-plan",
    /// The child's half of the link drops what it is sent.
    DeafChild = "deaf-child",
    /// The worker's ledger forgets what it is told to write.
    LedgerWithoutWrite = "ledger-without-write",
    /// Who was elected once leads for ever: neither its renewals nor its commits compare the lease's number.
    SkipEpochCheck = "skip-epoch-check",
    /// The number is compared when the lease is renewed and not in the transaction of each commit.
    CompareEpochOutside = "compare-epoch-outside-the-transaction",
    /// Ids of instances are counted by the database's revision, so that a restored copy hands them out again.
    ReuseInstanceId = "reuse-instance-id",
    /// A worker keeps no id of an instance whose end its cluster has recorded.
    DropTombstoneAtAck = "drop-tombstone-at-ack",
    /// A tier's tombstone goes with its age, also while the child that may still run the instance is not heard.
    DropTombstoneAtRetention = "drop-tombstone-at-retention-with-worker-offline",
    /// A worker stops what a snapshot does not name.
    AbsenceIsStop = "absence-is-stop",
    /// A child takes what has arrived of a snapshot or delta for the whole, once the last part is there.
    ApplyPartialFull = "apply-partial-full",
    /// A worker acts on a STOP and tells of it a second before its ledger has it.
    AckBeforeFsync = "ack-before-fsync",
    /// A parent takes a report with an older number for that of a child that began to count anew.
    SeqReset = "seq-reset-on-reboot-accepted",
    /// A parent records what a child reports of another child's assignment.
    StatusWithoutOwner = "status-without-owner-check",
    /// The answer to a request is kept in a transaction of its own, after the one that had the effect.
    IdempotencyKeyApart = "idempotency-key-not-in-transaction",
    /// The answers to requests about an application are forgotten when it is gone.
    KeyForgotten = "key-forgotten-at-terminal-state",
    /// The answer to a user leaves before the commit, and stands when that fails.
    OutboxBeforeCommit = "outbox-sent-before-commit",
    /// The engine places by what it read of its children's capacity up to half a minute before its transaction. It stands
    /// for the quota of the fault model, which this version has none of: room is what can be given away twice here.
    CapacityOutside = "capacity-read-outside-transaction",
    /// A worker's lease of exclusive instances begins when the Ack comes in, not when the report went out.
    TimerFromAck = "timer-from-ack-receive-time",
    /// A worker counts the lease of exclusive instances on a clock that stands still while its machine sleeps.
    SuspendedClock = "self-stop-by-suspended-clock",
    /// A silent child is replaced at its time, whoever is heard and however many are.
    BrakeOff = "brake-off",
    /// When original and substitute are heard again, neither is told to stop.
    BothKept = "both-incarnations-kept-on-return",
    /// A worker counts the lease of exclusive instances on its wall clock.
    LeaseByWallClock = "lease-by-wall-clock",
    /// Neither side of the link compares the issuer epoch of the point that a child has applied.
    DeltaAcrossEpoch = "delta-applied-across-issuer-epoch",
}

#[cfg(feature = "plant")]
thread_local! {
    static ON: std::cell::Cell<Option<Plant>> = const { std::cell::Cell::new(None) };
}

/// Turns a bug on for this thread, or all off.
#[cfg(feature = "plant")]
pub fn set(plant: Option<Plant>) {
    debug_assert!(MARKER.starts_with("edgeio"));
    ON.set(plant);
}

/// Whether a bug is on.
#[cfg(feature = "plant")]
#[must_use]
pub fn on(plant: Plant) -> bool {
    ON.get() == Some(plant)
}

/// Whether a bug is on: never, in this build.
#[cfg(not(feature = "plant"))]
#[must_use]
pub const fn on(_plant: Plant) -> bool {
    false
}
