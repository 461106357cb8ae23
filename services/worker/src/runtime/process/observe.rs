//! What an instance's directory says about it.
//!
//! A free lock with a run and no end means that nobody saw the end: the node rebooted or the shim was killed. That is written down once,
//! so that every later look says the same, and what the job left behind is killed first.

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use super::ProcessRuntime;
use crate::{
    runtime::{Handle, InstanceId, Observed, RuntimeError, State},
    shim::{
        Tree,
        files::{self, Dir, Durable, Ended, Job, Run, from_ns, to_ns},
        proc,
    },
};

/// How long the leftovers of a killed shim may take to die.
const SWEEP_WITHIN: Duration = Duration::from_secs(2);

impl ProcessRuntime {
    pub(super) fn shim_lives(&self, instance: InstanceId) -> bool {
        let dir = self.dir(instance);
        dir.job().exists() && matches!(dir.is_free(), Ok(false))
    }

    /// Looks at one instance. `InvalidData` where its record is torn.
    pub(super) fn look(&self, instance: InstanceId) -> io::Result<Option<Observed>> {
        let dir = self.dir(instance);
        let Some(job) = files::read::<Job>(&dir.job())? else {
            return Ok(None);
        };
        // The lock before the records: a shim that ends in between has written its record by then.
        let free = match dir.is_free() {
            Ok(free) => free,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let run = files::read::<Run>(&dir.run())?;
        let ended = files::read::<Ended>(&dir.exit())?;
        let ended = ended.filter(|e| run.as_ref().is_none_or(|r| e.run >= r.run));
        let (handle, state) = match (run, ended) {
            (Some(run), Some(ended)) if ended.lease_over => (handle(&run), State::Created),
            (run, Some(ended)) => (
                run.map_or_else(|| created(&dir), |r| handle(&r)),
                State::Exited(ended.into()),
            ),
            (None, None) => (created(&dir), State::Created),
            (Some(run), None) => {
                // Held while the loss is written down: no shim may start in between.
                let lost = if free { dir.try_lock()? } else { None };
                let state = match lost {
                    Some(_lock) => State::Exited(lose(&dir, &job, &run)?.into()),
                    None => {
                        self.attendance.watch(instance, &dir, &run);
                        running(&job, &run)
                    }
                };
                (handle(&run), state)
            }
        };
        Ok(Some(Observed {
            labels: job.labels,
            handle,
            state,
            image_digest: None,
        }))
    }

    /// The processes and state of an instance that runs or is paused.
    pub(super) fn live(
        &self,
        instance: InstanceId,
        verb: &'static str,
    ) -> Result<(Tree, State), RuntimeError> {
        let gone = RuntimeError::Gone { instance, verb };
        let Some(observed) = self.look(instance).map_err(Self::io(verb, instance))? else {
            return Err(gone);
        };
        let state = observed.state;
        if !matches!(state, State::Running { .. } | State::Paused { .. }) {
            return Err(gone);
        }
        let dir = self.dir(instance);
        let job = files::read::<Job>(&dir.job()).map_err(Self::io(verb, instance))?;
        let run = files::read::<Run>(&dir.run()).map_err(Self::io(verb, instance))?;
        let (Some(job), Some(run)) = (job, run) else {
            return Err(gone);
        };
        Ok((Tree::of(&run, job.group.as_ref(), true), state))
    }
}

fn handle(run: &Run) -> Handle {
    Handle(format!("{}@{}", run.pid, run.start_ticks))
}

fn created(dir: &Dir) -> Handle {
    Handle(dir.0.display().to_string())
}

fn running(job: &Job, run: &Run) -> State {
    let (started_at, pid) = (from_ns(run.started_at_ns), u32::try_from(run.pid).ok());
    let stopped = || proc::stat(run.pid).is_some_and(|s| s.state == 'T');
    let paused = job
        .group
        .as_ref()
        .and_then(|g| g.frozen())
        .unwrap_or_else(stopped);
    if paused {
        State::Paused { started_at, pid }
    } else {
        State::Running { started_at, pid }
    }
}

/// Ends a run whose shim is gone, under its lock.
fn lose(dir: &Dir, job: &Job, run: &Run) -> io::Result<Ended> {
    let same_boot = run.boot_id == proc::boot_id();
    let why = if same_boot {
        // The kernel killed the main process with the shim; others of the group may be left.
        let tree = Tree::of(run, job.group.as_ref(), false);
        let until = Instant::now() + SWEEP_WITHIN;
        while !tree.is_empty() {
            tree.kill();
            if Instant::now() > until {
                return Err(io::Error::other(
                    "what a killed shim left behind does not die",
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        "its shim was killed"
    } else {
        "the node rebooted while it ran"
    };
    let ended = Ended {
        run: run.run,
        code: None,
        signal: None,
        oom: false,
        lease_over: false,
        finished_at_ns: to_ns(SystemTime::now()),
        lost: Some(why.to_owned()),
    };
    files::write(&dir.exit(), &ended, Durable::Yes)?;
    Ok(ended)
}
