//! Planted bugs: switches at production lines that the simulator turns on to prove that its invariants would notice.
//!
//! They exist only with the feature `plant`, which no release binary has; without it every switch is the constant
//! `false` and the compiler removes the line. The switch is per thread, so that schedules can run in parallel.

/// A marker that the release check looks for in binaries.
#[cfg(feature = "plant")]
pub const MARKER: &str = "edgeio-planted-bug-switches-are-compiled-in";

/// The bugs that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// `plan` at a tier finds nothing to do.
    EmptyPlan,
    /// The child's half of the link drops what it is sent.
    DeafChild,
    /// The worker's ledger forgets what it is told to write.
    LedgerWithoutWrite,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 3] = [
        Plant::EmptyPlan,
        Plant::DeafChild,
        Plant::LedgerWithoutWrite,
    ];

    /// Its name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Plant::EmptyPlan => "empty-plan",
            Plant::DeafChild => "deaf-child",
            Plant::LedgerWithoutWrite => "ledger-without-write",
        }
    }
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
