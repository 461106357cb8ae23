//! Everything a native job has started, to be signalled or killed as one.
//!
//! Three nets, since each has holes: the process group (a job may leave it), the control group (the node may have none for us), and the
//! processes below the shim (complete while the shim lives, as it is their reaper).

use std::{
    io, thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{files::Run, proc};
use crate::runtime::cgroup::Group;

/// How long stopping by signals may take; a task in an uninterruptible sleep stops when that ends.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// A job's processes.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The main process; its process group has the same number.
    pub pid: i32,
    /// Its start, so that a reused number is never signalled.
    pub start_ticks: u64,
    /// Its control group.
    pub group: Option<Group>,
    /// The shim, while it lives.
    pub shim: Option<i32>,
}

impl Tree {
    /// The tree of a run, under a shim that lives or not.
    pub fn of(run: &Run, group: Option<&Group>, shim_lives: bool) -> Self {
        Self {
            pid: run.pid,
            start_ticks: run.start_ticks,
            group: group.cloned(),
            shim: shim_lives.then_some(run.shim),
        }
    }

    /// Signals the process group, if its leader is still there to prove that the number is the job's.
    pub fn signal(&self, signal: Signal) {
        // A dead leader that is not yet reaped still holds the number.
        let ours = proc::stat(self.pid).is_some_and(|s| s.start_ticks == self.start_ticks);
        if let (true, Some(pid)) = (ours, Pid::from_raw(self.pid)) {
            // Gone in between is what a signal would have led to.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Keeps every task from running, by the freezer or else by signals.
    ///
    /// # Errors
    /// Some task did not stop in time.
    pub fn freeze(&self) -> io::Result<()> {
        if let Some(group) = &self.group {
            return group.freeze(true);
        }
        let until = Instant::now() + STOP_WITHIN;
        loop {
            let runs = |pid: &i32| proc::stat(*pid).is_some_and(|s| !matches!(s.state, 'T' | 'Z'));
            let running: Vec<i32> = self.below().into_iter().filter(runs).collect();
            if running.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "tasks did not stop",
                ));
            }
            for pid in running.into_iter().filter_map(Pid::from_raw) {
                let _ = kill_process(pid, Signal::STOP);
            }
            // A signal is taken when the task next returns from the kernel.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets frozen or stopped tasks go on, so that they can take a signal.
    pub fn thaw(&self) {
        if let Some(group) = &self.group {
            // A group that cannot thaw shows in its tasks staying there.
            let _ = group.freeze(false);
        }
        for pid in self.below().into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// One pass of killing all; repeat until [`Tree::is_empty`].
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        if let Some(group) = &self.group {
            group.kill();
            // A frozen version 1 group dies only when thawed.
            let _ = group.freeze(false);
        }
        for pid in self.below().into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Whether nothing of the job is left, the not yet reaped aside.
    pub fn is_empty(&self) -> bool {
        let alive = |pid: i32| proc::stat(pid).is_some_and(|s| !matches!(s.state, 'Z' | 'X'));
        let grouped = self
            .group
            .as_ref()
            .map(Group::processes)
            .unwrap_or_default();
        !proc::is_alive(self.pid, self.start_ticks)
            && !grouped.into_iter().any(alive)
            && !self.below().into_iter().any(alive)
    }

    /// All processes known to be the job's.
    pub fn below(&self) -> Vec<i32> {
        match self.shim {
            Some(shim) => proc::descendants(shim),
            None if proc::is_alive(self.pid, self.start_ticks) => {
                let mut all = proc::descendants(self.pid);
                all.push(self.pid);
                all
            }
            None => Vec::new(),
        }
    }
}
