//! What happens to an instance whose worker or cluster cannot be heard: the words of a manifest, checked, and the law by
//! which two of an exclusive service never run at a time.
//!
//! Deliberately absent: who is silent and for how long. That is judged in [`crate::liveness`], and acted on in
//! [`crate::plan::tier`].

use std::time::Duration;

use super::{parse_grace, pick};
use crate::violation::Violations;

/// How long an exclusive instance runs without a word from its cluster when the spec does not say.
pub const DEFAULT_STOP_AFTER: Duration = Duration::from_secs(60);
/// Shortest such time: a few reports may be late without a reason to stop.
pub const MIN_STOP_AFTER: Duration = Duration::from_secs(5);

/// The words of a manifest about silence, unchecked; each may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisconnectDraft {
    /// Mode.
    pub mode: String,
    /// Which copy stays.
    pub reconcile: String,
    /// A duration.
    pub stop_after: String,
    /// Whether it is replaced.
    pub replace: String,
}

/// What happens to an instance whose worker or cluster cannot be heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect {
    /// How many may run at a time.
    pub mode: Mode,
    /// Which one stays when both are heard again.
    pub reconcile: Reconcile,
    /// Whether a substitute is started by itself.
    pub replace: bool,
}

impl Default for Disconnect {
    fn default() -> Self {
        Self {
            mode: Mode::Available,
            reconcile: Reconcile::default(),
            replace: true,
        }
    }
}

/// How many instances of one replica may run at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It runs on while it cannot be heard, and a substitute may run beside it.
    Available,
    /// Never two: it stops itself before a substitute may start. A native job has a keeper that ends it in time even if the
    /// worker's agent is dead or hangs. A container is stopped by the agent alone: when that one is killed and stays away, the
    /// container runs on beside its substitute, and only a store that compares `EDGEIO_EPOCH` tells the two apart.
    Exclusive {
        /// How long it runs without a word from its cluster, on CLOCK_BOOTTIME, from the sending of the last report that was
        /// recorded.
        stop_after: Duration,
    },
}

/// Which copy stays when original and substitute are heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reconcile {
    /// The one that was there first.
    #[default]
    KeepOriginal,
    /// The newest one.
    KeepReplacement,
    /// The one that runs for the longest time.
    LongestRunning,
}

/// What the plan must know of a spec to judge whether its instances may be replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// What happens while it cannot be heard.
    pub disconnect: Disconnect,
    /// Time between the request to stop and the kill.
    pub stop_grace: Duration,
}

impl Terms {
    /// How long a child must be silent before an exclusive instance there has certainly stopped itself: its own time, by a
    /// clock that is a quarter wrong at most (5 % are likely; the rest is for a scheduler under load), the time that
    /// stopping takes, and one lease for the report that may still be under way. `None` for what is not exclusive.
    #[must_use]
    pub fn surely_stopped_after(&self, lease: Duration) -> Option<Duration> {
        match self.disconnect.mode {
            Mode::Available => None,
            Mode::Exclusive { stop_after } => {
                let quarter = stop_after / 4;
                Some(
                    stop_after
                        .saturating_add(quarter)
                        .saturating_add(self.stop_grace)
                        .saturating_add(lease),
                )
            }
        }
    }
}

/// Mode and the words that go with it.
pub(super) fn check(
    draft: &DisconnectDraft,
    path: &str,
    faults: &mut Violations,
) -> Option<Disconnect> {
    let at = |field: &str| format!("{path}.disconnect.{field}");
    let exclusive = pick(
        &at("mode"),
        &draft.mode,
        faults,
        &[("available", false), ("exclusive", true)],
    )?;
    let reconcile = pick(
        &at("reconcile"),
        &draft.reconcile,
        faults,
        &[
            ("keep-original", Reconcile::KeepOriginal),
            ("keep-replacement", Reconcile::KeepReplacement),
            ("longest-running", Reconcile::LongestRunning),
        ],
    )?;
    let replace = pick(
        &at("replace"),
        &draft.replace,
        faults,
        &[("auto", true), ("never", false)],
    )?;
    if !exclusive && !draft.stop_after.is_empty() {
        faults.add(at("stop_after"), "is for the mode exclusive only");
    }
    if exclusive && !draft.reconcile.is_empty() {
        faults.add(
            at("reconcile"),
            "is for the mode available only: of an exclusive service there are never two",
        );
    }
    let stop_after = if draft.stop_after.is_empty() {
        DEFAULT_STOP_AFTER
    } else {
        faults.check(&at("stop_after"), parse_grace(&draft.stop_after))?
    };
    if stop_after < MIN_STOP_AFTER {
        faults.add(at("stop_after"), "must be from 5s to 1h");
    }
    let mode = if exclusive {
        Mode::Exclusive { stop_after }
    } else {
        Mode::Available
    };
    Some(Disconnect {
        mode,
        reconcile,
        replace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(mode: &str, reconcile: &str, stop_after: &str, replace: &str) -> DisconnectDraft {
        DisconnectDraft {
            mode: mode.into(),
            reconcile: reconcile.into(),
            stop_after: stop_after.into(),
            replace: replace.into(),
        }
    }

    #[test]
    fn words_become_meaning() {
        let exclusive = |seconds| Mode::Exclusive {
            stop_after: Duration::from_secs(seconds),
        };
        for (words, mode, reconcile, replace) in [
            (
                draft("", "", "", ""),
                Mode::Available,
                Reconcile::KeepOriginal,
                true,
            ),
            (
                draft("available", "keep-replacement", "", "never"),
                Mode::Available,
                Reconcile::KeepReplacement,
                false,
            ),
            (
                draft("", "longest-running", "", "auto"),
                Mode::Available,
                Reconcile::LongestRunning,
                true,
            ),
            (
                draft("exclusive", "", "", ""),
                exclusive(60),
                Reconcile::KeepOriginal,
                true,
            ),
            (
                draft("exclusive", "", "5s", "never"),
                exclusive(5),
                Reconcile::KeepOriginal,
                false,
            ),
            (
                draft("exclusive", "", "1h", ""),
                exclusive(3600),
                Reconcile::KeepOriginal,
                true,
            ),
        ] {
            let mut faults = Violations::default();
            let checked = check(&words, "s", &mut faults);
            assert!(faults.is_empty(), "{words:?}");
            let expected = Disconnect {
                mode,
                reconcile,
                replace,
            };
            assert_eq!(checked, Some(expected), "{words:?}");
        }
    }

    #[test]
    fn every_wrong_word_is_told_with_its_field() {
        for (words, field) in [
            (draft("sometimes", "", "", ""), "s.disconnect.mode"),
            (draft("", "keep-both", "", ""), "s.disconnect.reconcile"),
            (draft("", "", "", "later"), "s.disconnect.replace"),
            (draft("", "", "60s", ""), "s.disconnect.stop_after"),
            (draft("exclusive", "", "4s", ""), "s.disconnect.stop_after"),
            (draft("exclusive", "", "2h", ""), "s.disconnect.stop_after"),
            (
                draft("exclusive", "", "soon", ""),
                "s.disconnect.stop_after",
            ),
            (
                draft("exclusive", "keep-original", "", ""),
                "s.disconnect.reconcile",
            ),
        ] {
            let mut faults = Violations::default();
            let _ = check(&words, "s", &mut faults);
            let paths: Vec<String> = faults.into_vec().into_iter().map(|v| v.path).collect();
            assert_eq!(paths, [field], "{words:?}");
        }
    }

    #[test]
    fn an_exclusive_instance_has_stopped_after_its_time_with_drift_its_grace_and_a_lease() {
        let terms = |mode| Terms {
            disconnect: Disconnect {
                mode,
                ..Disconnect::default()
            },
            stop_grace: Duration::from_secs(10),
        };
        let lease = Duration::from_secs(45);
        assert_eq!(terms(Mode::Available).surely_stopped_after(lease), None);
        let stop_after = Duration::from_secs(60);
        let after = terms(Mode::Exclusive { stop_after }).surely_stopped_after(lease);
        assert_eq!(after, Some(Duration::from_secs(75 + 10 + 45)));
    }
}
