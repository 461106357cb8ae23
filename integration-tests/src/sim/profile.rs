//! Kinds of schedules: what the network does to messages and what breaks.

use rand::Rng;

use super::network::Weather;

/// Which kind of schedule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Profile {
    /// Nothing breaks and every message arrives.
    FaultFree,
    /// Messages are lost, repeated, reordered and late by up to an hour.
    Lossy,
    /// Processes die anywhere and at any durable write, before it, after it, and while it is not yet acknowledged.
    Crash,
    /// Ways are cut, also one-way, or clogged and opened again in another order.
    Partition,
    /// Processes are frozen, machines sleep, wall clocks jump by up to ten years, clocks drift by 5 %.
    Time,
    /// Commits fail, disks are full, databases are lost or replaced by older copies.
    Database,
    /// Cloned workers and clusters, forged ids, old messages again, lies about capacity.
    Hostile,
}

impl Profile {
    /// Those in which something breaks, in equal shares of the seeds.
    pub const BREAKING: [Profile; 6] = [
        Profile::Lossy,
        Profile::Crash,
        Profile::Partition,
        Profile::Time,
        Profile::Database,
        Profile::Hostile,
    ];

    /// All of them.
    pub const ALL: [Profile; 7] = [
        Profile::FaultFree,
        Profile::Lossy,
        Profile::Crash,
        Profile::Partition,
        Profile::Time,
        Profile::Database,
        Profile::Hostile,
    ];

    /// The profile of a seed for which none was picked.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let count = Self::BREAKING.len() as u64;
        let index = usize::try_from(seed % count).unwrap_or(0);
        Self::BREAKING[index]
    }

    /// Its name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Profile::FaultFree => "fault-free",
            Profile::Lossy => "lossy",
            Profile::Crash => "crash",
            Profile::Partition => "partition",
            Profile::Time => "time",
            Profile::Database => "database",
            Profile::Hostile => "hostile",
        }
    }

    /// The profile of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// What the network does to messages while there is trouble.
    pub(super) fn weather(self, rng: &mut impl Rng) -> Weather {
        let mild = Weather {
            drop: 2,
            repeat: 2,
            delay: 5,
            longest: 4_000,
        };
        match self {
            Profile::FaultFree => Weather::CALM,
            Profile::Lossy => Weather {
                drop: rng.random_range(5..25),
                repeat: rng.random_range(5..25),
                delay: rng.random_range(10..40),
                longest: [4_000, 60_000, 3_600_000][rng.random_range(0..3)],
            },
            Profile::Crash | Profile::Partition | Profile::Database => mild,
            Profile::Time | Profile::Hostile => Weather {
                longest: 20_000,
                ..mild
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_seeds_have_equal_shares() {
        for profile in Profile::ALL {
            assert_eq!(Profile::from_name(profile.name()), Some(profile));
        }
        for profile in Profile::BREAKING {
            assert_eq!((0..60).filter(|s| Profile::of(*s) == profile).count(), 10);
        }
    }
}
