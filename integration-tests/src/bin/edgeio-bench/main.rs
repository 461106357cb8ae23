//! The benches: floors of this machine, one deployment hop by hop, the footprint of the release binaries.
//! Each figure is printed beside the floor that was measured in the same run; the claim is the distance, never the figure.

mod child;
mod deploy;
mod engine;
mod floors;
mod footprint;
mod line;
mod machine;
mod options;
mod report;
mod stats;
mod swarm;
mod usage;

use anyhow::Result;
use clap::Parser;

use crate::{
    machine::Machine,
    options::{Bench, Options},
    report::Report,
};

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let machine = Machine::look(&options)?;
    let mut report = Report::new(&options, machine)?;
    for bench in options.benches() {
        match bench {
            Bench::Floors => floors::run(&options, &mut report).await?,
            Bench::Deploy => deploy::run(&options, &mut report).await?,
            Bench::Footprint => footprint::run(&options, &mut report).await?,
        }
    }
    report.finish(&options)
}
