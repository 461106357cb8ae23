//! What can be asked of the simulator.

use std::ops::Range;

use clap::{Parser, builder::PossibleValuesParser, builder::TypedValueParser as _};
use edgeio_domain::plant::Plant;
use edgeio_integration_tests::sim::Profile;

/// Simulates roots, clusters, bridges and workers: the production loops under virtual time.
///
/// Each seed is one schedule of what users want and what breaks. The invariants are checked at every step and convergence at
/// the end. It ends with 1 and tells the last events and how to replay them when one does not hold.
#[derive(Parser, Debug)]
#[command(name = "edgeio-sim", version)]
pub(crate) struct Options {
    /// The seeds, from A up to but without B.
    #[arg(long, value_name = "A..B", value_parser = seeds, default_value = "0..1000")]
    pub(crate) seeds: Range<u64>,
    /// What breaks; drawn from each seed when not given, in equal shares of all that break something.
    #[arg(long, value_parser = profiles())]
    pub(crate) profile: Option<Profile>,
    /// Plant a bug at its line of the production code: an invariant must find it.
    #[arg(long, value_parser = plants())]
    pub(crate) plant: Option<Plant>,
    /// Schedules that run at once; all processors when not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after a violation, up to so many; each is told in one line, without events.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) most: usize,
    /// Search each planted bug, or that of --plant, in the first 2000 schedules instead, and print the table of what finds
    /// it. It ends with 1 when one is not found.
    #[arg(long, conflicts_with_all = ["seeds", "profile", "trace"])]
    pub(crate) search_plants: bool,
    /// Print every event of this one seed instead.
    #[arg(long, value_name = "SEED", conflicts_with = "seeds")]
    pub(crate) trace: Option<u64>,
}

impl Options {
    pub(crate) fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(all)
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let Some((from, to)) = text.split_once("..") else {
        return Err("must be A..B, such as 0..1000".to_owned());
    };
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        return Err("holds no seed: A must be less than B".to_owned());
    }
    Ok(range)
}

fn profiles() -> impl clap::builder::TypedValueParser<Value = Profile> {
    let names = Profile::ALL.map(Profile::name);
    PossibleValuesParser::new(names).map(|name| {
        // The parser lets no other name through.
        Profile::from_name(&name).unwrap_or(Profile::FaultFree)
    })
}

fn plants() -> impl clap::builder::TypedValueParser<Value = Plant> {
    let names = Plant::ALL.map(Plant::name);
    PossibleValuesParser::new(names).try_map(|name| {
        let found = Plant::ALL.into_iter().find(|plant| plant.name() == name);
        found.ok_or("no such planted bug")
    })
}
