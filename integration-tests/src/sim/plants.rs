//! Planted bugs: the search for a schedule in which an invariant finds each, and the table of what was found.

use edgeio_domain::plant::Plant;

use super::{Profile, Sweep, Violation, run};

/// Schedules in which a bug must be found.
pub const SEARCHED: u64 = 2_000;
/// Schedules without a fault in which it must not show.
const QUIET: u64 = 20;

/// A line of the table: `plant profile seed invariant`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bug.
    pub plant: Plant,
    /// The profile of the schedule.
    pub profile: Profile,
    /// Its seed.
    pub seed: u64,
    /// The invariant that finds it there.
    pub invariant: String,
}

impl Entry {
    /// Reads a line; `None` when it is none.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let name = words.next()?;
        Some(Self {
            plant: Plant::ALL.into_iter().find(|plant| plant.name() == name)?,
            profile: Profile::from_name(words.next()?)?,
            seed: words.next()?.parse().ok()?,
            invariant: words.next()?.to_owned(),
        })
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> String {
        let (plant, profile) = (self.plant.name(), self.profile.name());
        format!("{plant} {profile} {} {}", self.seed, self.invariant)
    }

    /// Replays it: with the bug the invariant must find it, without it all must hold.
    ///
    /// # Errors
    /// Says which of both was not so.
    pub fn check(&self) -> Result<(), String> {
        let line = self.line();
        match run(self.seed, self.profile, Some(self.plant)) {
            Ok(_) => return Err(format!("{line}: it is not found")),
            Err(found) if found.invariant != self.invariant => {
                return Err(format!("{line}: {found}"));
            }
            Err(_) => {}
        }
        match run(self.seed, self.profile, None) {
            Ok(_) => Ok(()),
            Err(found) => Err(format!("{line}: without the bug too: {found}")),
        }
    }
}

/// Searches a bug in the first [`SEARCHED`] schedules, where it is the bug that is found: the same seed holds without it. If
/// it is in none of them, each profile is searched alone.
///
/// # Errors
/// Says that it is not found, or that it shows where nothing breaks.
pub fn search(plant: Plant, threads: usize) -> Result<Entry, String> {
    let mut sweep = Sweep {
        seeds: 0..QUIET,
        profile: Some(Profile::FaultFree),
        plant: Some(plant),
        threads,
        most: 1,
    };
    let first = |sweep: &Sweep| -> Option<Violation> {
        let mut found = sweep.run(&|_| {}).violations;
        found.sort_by_key(|violation| violation.seed);
        found.into_iter().next()
    };
    let loud = matches!(
        plant,
        Plant::EmptyPlan | Plant::DeafChild | Plant::LedgerWithoutWrite
    );
    if !loud && let Some(violation) = first(&sweep) {
        return Err(format!(
            "{}: shows without a fault: {violation}",
            plant.name()
        ));
    }
    let alone = Profile::BREAKING.into_iter().map(Some);
    for profile in std::iter::once(None).chain(alone) {
        (sweep.seeds, sweep.profile) = (0..SEARCHED, profile);
        while let Some(violation) = first(&sweep) {
            let entry = Entry {
                plant,
                profile: violation.profile,
                seed: violation.seed,
                invariant: violation.invariant.to_owned(),
            };
            if entry.check().is_ok() {
                return Ok(entry);
            }
            sweep.seeds.start = violation.seed + 1;
        }
    }
    Err(format!(
        "{}: not found in {SEARCHED} schedules, nor in as many of each profile",
        plant.name()
    ))
}
