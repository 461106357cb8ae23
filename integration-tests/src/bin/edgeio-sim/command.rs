//! What the program does: many schedules, one told in full, or the search for planted bugs.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::options::Options;
use anyhow::Result;
use clap::Parser as _;
use edgeio_domain::plant::Plant;
use edgeio_integration_tests::sim::{Profile, Sweep, Totals, explain, explained, plants};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(2);

/// Does what the command line asks for.
pub(crate) fn run() -> Result<ExitCode> {
    let options = Options::parse();
    if let Some(seed) = options.trace {
        return trace(&options, seed);
    }
    if options.search_plants {
        return search(&options);
    }
    let sweep = Sweep {
        seeds: options.seeds.clone(),
        profile: options.profile,
        plant: options.plant,
        threads: options.threads(),
        most: options.most,
    };
    let told = Mutex::new(Instant::now());
    let all = sweep.seeds.end - sweep.seeds.start;
    let totals = sweep.run(&|totals| {
        let Ok(mut told) = told.lock() else { return };
        if told.elapsed() >= PROGRESS && std::io::stderr().is_terminal() {
            *told = Instant::now();
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r{} of {all}, {}   ", totals.schedules, rate(totals));
        }
    });
    let mut out = std::io::stdout().lock();
    if let ([violation], 1) = (&totals.violations[..], options.most) {
        writeln!(out, "{}", explained(violation.clone(), options.plant))?;
    } else {
        for violation in &totals.violations {
            writeln!(out, "{violation}")?;
        }
    }
    for violation in totals.violations.iter().take(1) {
        writeln!(out, "replay: {}", sweep.replay(violation))?;
    }
    for (profile, (schedules, events)) in &totals.by_profile {
        let (mean, name) = (events / schedules.max(&1), profile.name());
        writeln!(out, "{name:12} {schedules:8} schedules, {mean} events each")?;
    }
    writeln!(
        out,
        "{} schedules, {} events, {:.0} s of virtual time each, in {:.1} s: {}",
        totals.schedules,
        totals.events,
        totals.virtual_time.as_secs_f64() / (totals.schedules.max(1) as f64),
        totals.time.as_secs_f64(),
        rate(&totals)
    )?;
    if totals.violations.is_empty() {
        writeln!(out, "every invariant held")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{} schedules failed", totals.violations.len())?;
    Ok(ExitCode::FAILURE)
}

fn rate(totals: &Totals) -> String {
    let seconds = totals.time.as_secs_f64().max(0.001);
    format!(
        "{:.1} schedules/s, {:.0} events/s",
        totals.schedules as f64 / seconds,
        totals.events as f64 / seconds
    )
}

/// Prints the table of planted bugs.
fn search(options: &Options) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    let asked = |plant: &Plant| options.plant.is_none_or(|only| only == *plant);
    for plant in Plant::ALL.iter().copied().filter(asked) {
        match plants::search(plant, options.threads()) {
            Ok(entry) => writeln!(out, "{}", entry.line())?,
            Err(why) => {
                writeln!(out, "# {why}")?;
                code = ExitCode::FAILURE;
            }
        }
        out.flush()?;
    }
    Ok(code)
}

/// Prints every event of one seed.
fn trace(options: &Options, seed: u64) -> Result<ExitCode> {
    let profile = options.profile.unwrap_or_else(|| Profile::of(seed));
    let mut out = std::io::stdout().lock();
    match explain(seed, profile, options.plant, usize::MAX) {
        Ok(outcome) => {
            let (events, hash) = (outcome.events, outcome.trace);
            writeln!(
                out,
                "{}\nseed {seed}, profile {}: {events} events, trace {hash:016x}",
                outcome.told,
                profile.name()
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(violation) => {
            writeln!(out, "{violation}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
