//! Judging silence: when a child that is not heard counts as Suspect, Disconnected or Lost, and when what it runs may be
//! replaced.
//!
//! Silence proves nothing by itself: the fault may be on this side. What proves that this side is well is that others are
//! heard on the same way, from one lease to the next, while this child is silent. Whatever breaks everything breaks the
//! proof too, and then nothing is replaced; when it is mended, one lease passes before anybody is judged by it, since not
//! all come back in the same second. Laws, tested below: without evidence nothing becomes Proven or Lost; no more than
//! the rate become Proven in a minute; time in which this tier was not there to hear counts as nothing.
//!
//! Pure: times come in, verdicts go out. Deliberately absent: what follows from a verdict, which is the plan's.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    child::{Child, ChildState, Replace},
    ids::ChildId,
    plant::{self, Plant},
    time::Time,
};

/// The rate of replacement counts children in this time.
const RATE_TIME: Duration = Duration::from_secs(60);
/// Silence is recorded again after so much more of it, or after a lease if that is shorter: a restart forgets no more, and
/// a database with a thousand silent children is not kept busy by them.
const RECORD_EVERY: Duration = Duration::from_secs(60);

/// Times by which silence is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leases {
    /// Silence until Suspect; twice that until Disconnected.
    pub lease: Duration,
    /// Silence until what a child runs may be replaced.
    pub replace_after: Duration,
    /// Silence until Lost.
    pub lost_after: Duration,
    /// Of a hundred children, how many may begin to be replaced in a minute; one always may.
    pub replace_rate: u32,
}

impl Default for Leases {
    /// 45 s: three reports at the default interval of 15 s may be lost before anybody doubts. 5 min: a machine has
    /// rebooted by then, and a person who tripped over a cable has put it back. A day: what is not back by then will not
    /// come back by itself. 10 %: a fault that hits half of the children is seen and stopped by a person before it has
    /// moved everything.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(45),
            replace_after: Duration::from_secs(5 * 60),
            lost_after: Duration::from_secs(24 * 3600),
            replace_rate: 10,
        }
    }
}

impl Leases {
    /// How many of so many children may begin to be replaced in a minute.
    #[must_use]
    pub fn limit(&self, children: usize) -> usize {
        let percent = usize::try_from(self.replace_rate).unwrap_or(usize::MAX);
        (children.saturating_mul(percent) / 100).max(1)
    }
}

/// What is known of one child's silence. All times are CLOCK_BOOTTIME.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// Counting began here,
    from: Time,
    /// with so much before it.
    before: Duration,
    /// Nothing is judged worse until one lease after this.
    granted: Time,
    /// It has knocked since it was heard: knocking again grants no more.
    knocked: bool,
}

/// What a tier has heard of its children since it began: memory, and losing it costs only time.
#[derive(Clone, Debug)]
pub struct Ears {
    leases: Leases,
    silences: BTreeMap<ChildId, Silence>,
    /// The first and the newest word of the time in which somebody was always heard, with gaps below a lease, up to now.
    way: Option<(Time, Time)>,
    /// When children began to be replaced, as far as the rate counts them.
    begun: VecDeque<Time>,
    /// When silence was judged last.
    judged: Time,
}

impl Ears {
    /// Nothing is heard yet; every lease is granted anew.
    #[must_use]
    pub fn new(leases: Leases, now: Time) -> Self {
        Self {
            leases,
            silences: BTreeMap::new(),
            way: None,
            begun: VecDeque::new(),
            judged: now,
        }
    }

    /// A report of the child is recorded.
    pub fn hear(&mut self, child: ChildId, now: Time) {
        let silence = Silence {
            from: now,
            before: Duration::ZERO,
            granted: now,
            knocked: false,
        };
        self.silences.insert(child, silence);
        let unbroken = |newest: Time| now.since(newest) < self.leases.lease;
        self.way = match self.way {
            Some((since, newest)) if unbroken(newest) => Some((since, now)),
            Some(_) | None => Some((now, now)),
        };
    }

    /// The child wants a session. That is no report, but it is given the time for one; once, since a child that is heard
    /// and does not hear would knock for ever. `recorded` is its recorded silence.
    pub fn knock(&mut self, child: ChildId, recorded: Duration, now: Time) {
        let silence = self.silences.entry(child).or_insert(Silence {
            from: now,
            before: recorded,
            granted: now,
            knocked: true,
        });
        if !silence.knocked {
            (silence.granted, silence.knocked) = (now, true);
        }
    }

    /// A way by which children are heard is cut: what was heard before proves nothing any more.
    pub fn cut(&mut self) {
        self.way = None;
    }

    /// To be called before each judgement with the children that are judged here: begins to count for new ones, forgets
    /// the others, and takes out the time in which this tier was not there to hear.
    pub fn attend(&mut self, children: &[Child], now: Time) {
        let away = now.since(self.judged);
        if away >= self.leases.lease {
            // It was suspended or starved: words are waiting that it has not taken yet.
            for silence in self.silences.values_mut() {
                silence.from = (silence.from + away).min(now);
                silence.granted = now;
            }
            self.way = None;
            self.judged = now;
        }
        let since = std::mem::replace(&mut self.judged, now);
        self.silences
            .retain(|id, _| children.iter().any(|child| child.id == *id));
        for child in children {
            self.silences.entry(child.id).or_insert(Silence {
                from: since,
                before: child.silence,
                granted: since,
                knocked: false,
            });
        }
        while self
            .begun
            .pop_front_if(|at| now.since(*at) >= RATE_TIME)
            .is_some()
        {}
    }

    /// How long a child has been silent, as far as this tier was there to hear it.
    #[must_use]
    pub fn silence(&self, child: ChildId, now: Time) -> Duration {
        self.silences
            .get(&child)
            .map_or(Duration::ZERO, |s| s.before + now.since(s.from))
    }

    /// The children whose record changes, as it shall be. Judging again without recording gives the same.
    #[must_use]
    pub fn judge(&self, children: &[Child], now: Time) -> Vec<Child> {
        let leases = &self.leases;
        let mut silent: Vec<(Duration, &Child)> = children
            .iter()
            .map(|child| (self.silence(child.id, now), child))
            .collect();
        // Who is silent for longest is replaced first.
        silent.sort_by_key(|(silence, child)| (std::cmp::Reverse(*silence), child.id));
        let limit = leases.limit(children.len());
        let mut room = limit.saturating_sub(self.begun.len());
        if plant::on(Plant::BrakeOff) {
            room = usize::MAX;
        }
        let every = RECORD_EVERY.min(leases.lease);
        let mut verdicts = Vec::new();
        for (silence, child) in silent {
            let evident = self.is_evident(child.id);
            let granted = self
                .silences
                .get(&child.id)
                .is_none_or(|s| now.since(s.granted) < leases.lease);
            let judged = if granted {
                (child.state, child.replace)
            } else {
                judge(leases, child, silence, evident, &mut room)
            };
            let changed = judged != (child.state, child.replace);
            let grown = silence >= leases.lease && silence >= child.silence + every;
            if judges(child.state) && (changed || grown) {
                let (state, replace) = judged;
                verdicts.push(Child {
                    state,
                    replace,
                    silence,
                    ..child.clone()
                });
            }
        }
        verdicts
    }

    /// So many children began to be replaced, as was recorded.
    pub fn began(&mut self, children: usize, now: Time) {
        self.begun.extend(std::iter::repeat_n(now, children));
    }

    /// Whether others were heard for a lease while this one was silent: the lease is for a word of this one that was under
    /// way, and for its coming back when the way was broken.
    fn is_evident(&self, child: ChildId) -> bool {
        let (Some(own), Some((since, newest))) = (self.silences.get(&child), self.way) else {
            return plant::on(Plant::BrakeOff);
        };
        plant::on(Plant::BrakeOff) || newest >= own.from.max(since) + self.leases.lease
    }
}

/// Whether silence means anything: of who never reported or said goodbye, nothing else is expected.
fn judges(state: ChildState) -> bool {
    match state {
        ChildState::Registered | ChildState::Left => false,
        ChildState::Ready
        | ChildState::Suspect
        | ChildState::Disconnected
        | ChildState::Returning
        | ChildState::Lost => true,
    }
}

/// State and replacement of a child after that silence. Silence never makes anything better. `room` is how many more may
/// begin to be replaced.
fn judge(
    leases: &Leases,
    child: &Child,
    silence: Duration,
    evident: bool,
    room: &mut usize,
) -> (ChildState, Replace) {
    let before = (child.state, child.replace);
    if !judges(child.state) || silence < leases.lease {
        return before;
    }
    let replace = match child.replace {
        Replace::No | Replace::Unproven | Replace::Limited if silence < leases.replace_after => {
            child.replace
        }
        Replace::No | Replace::Unproven | Replace::Limited if !evident => Replace::Unproven,
        Replace::No | Replace::Unproven | Replace::Limited if *room == 0 => Replace::Limited,
        Replace::No | Replace::Unproven | Replace::Limited => {
            *room -= 1;
            Replace::Proven
        }
        kept @ (Replace::Proven | Replace::Released | Replace::Fenced) => kept,
    };
    let proven = evident || replace == Replace::Proven;
    let lost = replace == Replace::Fenced || silence >= leases.lost_after && proven;
    let state = match child.state {
        ChildState::Lost => ChildState::Lost,
        _ if lost => ChildState::Lost,
        ChildState::Disconnected => ChildState::Disconnected,
        _ if silence >= leases.lease * 2 => ChildState::Disconnected,
        _ => ChildState::Suspect,
    };
    (state, replace)
}

#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
