//! Evidence, as the network's own record has it: what a tier could hear while a child of it was silent.
//!
//! A tier may replace what a silent child runs only when others were heard on the same way, from one lease to the next,
//! for a lease since its last word. This counts the same words, and is kind by 7 %: clocks drift by 5.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeio_domain::{ids::ChildId, time::Time};

/// What was heard at one tier.
#[derive(Default)]
pub(super) struct Way {
    /// First and newest word of the time in which somebody was always heard.
    run: Option<(Time, Time)>,
    /// When each child was heard last.
    heard: BTreeMap<ChildId, Time>,
    /// Who was silent for long enough while others were heard.
    evident: BTreeSet<ChildId>,
}

impl Way {
    /// A tier was told something by a child.
    pub(super) fn word(&mut self, now: Time, lease: Duration) {
        let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX / 200);
        let since = match self.run {
            Some((since, newest)) if now.0 - newest.0 <= lease * 107 / 100 => since,
            Some(_) | None => now,
        };
        self.run = Some((since, now));
        for (child, heard) in &self.heard {
            if now.0 - heard.0.max(since.0) >= lease * 93 / 100 {
                self.evident.insert(*child);
            }
        }
    }

    /// It recorded a word of this child.
    pub(super) fn heard(&mut self, child: ChildId, now: Time) {
        self.heard.insert(child, now);
        self.evident.remove(&child);
    }

    /// Whether it may replace what this child runs. One that was never heard has nothing that could be replaced.
    pub(super) fn is_evident(&self, child: ChildId) -> bool {
        self.evident.contains(&child) || !self.heard.contains_key(&child)
    }
}
