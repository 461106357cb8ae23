//! Starting a native program: fork and exec, and until its exit was collected.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{report::Row, stats::Series};

/// Starts in a round: enough for a p99, at a fifth of a millisecond each.
const STARTS: usize = 200;

#[derive(Default)]
pub(crate) struct Exec {
    spawn: Series,
    exit: Series,
}

impl Exec {
    pub(crate) fn round(&mut self) -> Result<()> {
        self.spawn.begin();
        self.exit.begin();
        for _ in 0..STARTS {
            let start = Instant::now();
            let mut child = Command::new("/bin/true")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .context("start /bin/true")?;
            self.spawn.add(start.elapsed().as_secs_f64() * 1e6);
            child.wait().context("wait for /bin/true")?;
            self.exit.add(start.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        vec![
            Row::new("floors", "fork and exec", "µs", &self.spawn),
            Row::new("floors", "fork, exec, exit, wait", "µs", &self.exit),
        ]
    }
}
