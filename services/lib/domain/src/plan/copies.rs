//! The copies of one slot: which of its assignments can be heard, which may be replaced, and which one stays.
//!
//! A slot has one copy that is heard at most, besides the moment after a return. Copies that cannot be heard are not
//! counted: nobody knows whether they run. Unknown is not absent, so a silent one stands for its slot until its child is
//! judged replaceable.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use crate::{
    child::{Child, ChildState, Replace},
    ids::{AssignmentId, ChildId, SpecHash},
    lifecycle::Phase,
    plant::{self, Plant},
    records::{Assignment, Desired},
    spec::{Mode, Reconcile, Terms},
    time::Time,
};

/// What the plan knows of silence.
pub struct Silence<'a> {
    /// The children.
    pub children: &'a BTreeMap<ChildId, Child>,
    /// What each spec says about silence. Of a spec that is missing nothing is replaced but by a fence.
    pub terms: &'a BTreeMap<SpecHash, Terms>,
    /// The lease of children, where this tier may judge that an exclusive instance has stopped itself: at a cluster. At the
    /// root `None`, since a silent cluster may hold up leases that the root does not see.
    pub lease: Option<Duration>,
}

/// Where a copy's child stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// It is heard, and everything it runs is known.
    Heard,
    /// It is heard again, and its state is being compared.
    Returning,
    /// It is not heard: nothing is known and nothing may be done.
    Silent,
    /// It is not heard, and a substitute may be started.
    Replaceable {
        /// The copy is stopped for that, in the same transaction.
        stops: bool,
    },
}

impl Silence<'_> {
    /// Where the child of a copy stands, for this copy.
    pub(super) fn standing(&self, copy: &Assignment) -> Standing {
        let Some(child) = self.children.get(&copy.child) else {
            return Standing::Silent;
        };
        let fenced = child.replace == Replace::Fenced;
        match child.state {
            ChildState::Ready if copy.observed.is_handed_back() => return self.handed_back(copy),
            ChildState::Ready => return Standing::Heard,
            // A fence holds until everything that it runs is known.
            ChildState::Returning if !fenced => return Standing::Returning,
            ChildState::Returning
            | ChildState::Registered
            | ChildState::Suspect
            | ChildState::Disconnected
            | ChildState::Left
            | ChildState::Lost => {}
        }
        if fenced {
            return Standing::Replaceable { stops: true };
        }
        let Some(terms) = self.terms.get(&copy.spec_hash) else {
            return Standing::Silent;
        };
        if !child.replace.is_allowed() || !terms.disconnect.replace {
            return Standing::Silent;
        }
        match terms.disconnect.mode {
            Mode::Available => Standing::Replaceable {
                stops: child.state == ChildState::Lost,
            },
            Mode::Exclusive { .. } => {
                let stopped = self
                    .lease
                    .and_then(|lease| terms.surely_stopped_after(lease));
                if stopped.is_some_and(|stopped| child.silence >= stopped) {
                    Standing::Replaceable { stops: true }
                } else {
                    Standing::Silent
                }
            }
        }
    }

    /// The child's own word that a substitute may be started stands for the evidence: it judged the silence. The copy keeps
    /// its order, and is compared with the substitute when it is heard again. An exclusive one is never handed back so.
    fn handed_back(&self, copy: &Assignment) -> Standing {
        let disconnect = self
            .terms
            .get(&copy.spec_hash)
            .map(|terms| terms.disconnect);
        match disconnect {
            Some(disconnect) if disconnect.replace && disconnect.mode == Mode::Available => {
                Standing::Replaceable { stops: false }
            }
            Some(_) | None => Standing::Silent,
        }
    }

    fn reconcile(&self, spec: SpecHash) -> Reconcile {
        self.terms
            .get(&spec)
            .map_or(Reconcile::default(), |terms| terms.disconnect.reconcile)
    }
}

/// What is to become of the copies that fit their slot.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Pick {
    /// There is none.
    None,
    /// This one fills the slot; those are too many.
    Keep {
        /// The one that stays.
        keep: AssignmentId,
        /// Heard, and lost the pick.
        losers: Vec<AssignmentId>,
        /// Not heard, replaced by the one that stays, and given up.
        given_up: Vec<AssignmentId>,
    },
    /// One of them is being compared: nothing is decided now.
    Later,
    /// None can be heard: this one stands for the slot.
    Unheard(AssignmentId),
    /// None can be heard, and a substitute may be started; these are stopped with it.
    Substitute(Vec<AssignmentId>),
}

/// Picks among the copies that fit the slot and are not being stopped.
pub(super) fn pick(copies: &[&Assignment], silence: &Silence<'_>) -> Pick {
    let standing: Vec<(&Assignment, Standing)> = copies
        .iter()
        .map(|copy| (*copy, silence.standing(copy)))
        .collect();
    let of = |wanted: fn(&Standing) -> bool| {
        let here = standing.iter().filter(move |(_, s)| wanted(s));
        here.map(|(copy, _)| *copy)
    };
    let Some(first) = copies.first() else {
        return Pick::None;
    };
    let best = |copies: &mut dyn Iterator<Item = &Assignment>| {
        let policy = silence.reconcile(first.spec_hash);
        copies.max_by_key(|copy| rank(copy, policy)).map(|a| a.id)
    };
    if of(|s| *s == Standing::Returning).next().is_some() {
        return Pick::Later;
    }
    let stops = |s: &Standing| *s == Standing::Replaceable { stops: true };
    let given_up = of(stops);
    if let Some(keep) = best(&mut of(|s| *s == Standing::Heard)) {
        let heard = of(|s| *s == Standing::Heard).map(|a| a.id);
        return Pick::Keep {
            keep,
            losers: heard
                .filter(|id| *id != keep && !plant::on(Plant::BothKept))
                .collect(),
            given_up: given_up.map(|a| a.id).collect(),
        };
    }
    // What ran to its end, or failed for good, would not run where it can be heard either.
    let ended = |a: &&Assignment| matches!(a.observed.phase, Phase::Completed | Phase::Failed);
    let all = standing
        .iter()
        .all(|(_, s)| matches!(s, Standing::Replaceable { .. }));
    if all && !copies.iter().any(ended) {
        return Pick::Substitute(given_up.map(|a| a.id).collect());
    }
    best(&mut copies.iter().copied()).map_or(Pick::None, Pick::Unheard)
}

/// Whether a copy that is being stopped keeps its slot from getting another one: they may share a port or a volume. One
/// that may be replaced does not.
pub(super) fn blocks(copy: &Assignment, silence: &Silence<'_>) -> bool {
    !matches!(silence.standing(copy), Standing::Replaceable { .. })
}

/// The phase in which the slot counts: that of the copies that are heard, or else of those whose child is not being
/// replaced.
pub(super) fn any_in_phase(
    copies: &[&Assignment],
    spec: SpecHash,
    silence: &Silence<'_>,
    phases: &[Phase],
) -> bool {
    let fits = |a: &&&Assignment| a.is_live() && a.spec_hash == spec;
    let live: Vec<(&Assignment, Standing)> = copies
        .iter()
        .filter(fits)
        .map(|copy| (*copy, silence.standing(copy)))
        .collect();
    let heard = |s: &Standing| matches!(s, Standing::Heard | Standing::Returning);
    let any_heard = live.iter().any(|(_, s)| heard(s));
    live.iter()
        .filter(|(copy, s)| match s {
            Standing::Heard | Standing::Returning => true,
            Standing::Silent => !any_heard,
            // What ended has ended, wherever that was.
            Standing::Replaceable { .. } => !any_heard && copy.observed.phase.is_terminal(),
        })
        .any(|(copy, _)| phases.contains(&copy.observed.phase))
}

/// Which of several copies stays: one that runs before one that does not, a wanted one before a found one, then by policy,
/// then the older one. Ids rise with time.
fn rank(copy: &Assignment, policy: Reconcile) -> impl Ord + use<> {
    let runs = matches!(copy.observed.phase, Phase::Running | Phase::Paused);
    let by_policy = match policy {
        Reconcile::KeepOriginal => (None, None),
        Reconcile::KeepReplacement => (Some(copy.id), None),
        Reconcile::LongestRunning => {
            let since = copy.observed.running_since.unwrap_or(Time(i64::MAX));
            (None, Some(Reverse(since)))
        }
    };
    (
        runs,
        copy.desired != Desired::Hold,
        by_policy,
        Reverse(copy.id),
    )
}
