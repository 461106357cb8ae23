//! What the parts below edgeIO cost by themselves on this machine, and what a peer that stands on the same parts makes
//! of them. Nothing of edgeIO runs here: these are the limits that its own figures are set beside.

mod bus;
mod containers;
mod disk;
mod exec;
mod rpc;

use anyhow::Result;

use crate::{child::fresh_dir, options::Options, report::Report};

/// Measures all floors.
pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let dir = fresh_dir(&options.data_dir, "floors")?;
    let mut exec = exec::Exec::default();
    let mut disk = disk::Disk::open(&dir).await?;
    let mut bus = bus::Bus::start(&dir).await?;
    let mut rpc = rpc::Rpc::start().await?;
    for round in 1..=options.rounds {
        report.machine.settle(options.quiet_wait())?;
        report.note(&format!("floors: round {round} of {}", options.rounds))?;
        exec.round()?;
        disk.round().await?;
        bus.round().await?;
        rpc.round().await?;
    }
    let mut rows = exec.rows();
    rows.extend(disk.rows());
    rows.extend(bus.rows());
    rows.extend(rpc.rows());
    report.rows("Floors: processes, disk, bus, RPC", &rows)?;
    // Their servers are idle now, but idle is not nothing.
    drop((bus, rpc, disk));
    containers::run(options, report, &dir).await?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
