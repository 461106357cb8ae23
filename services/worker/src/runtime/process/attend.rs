//! Shims that end without a word. A shim leaves a hint when its job ends; one that is killed leaves none, and its job, which
//! the kernel kills with it, would be missed only at the next listing. So each shim that is seen alive is watched by a
//! descriptor of its process.
//!
//! Deliberately absent: any conclusion. The end of a shim is a hint to look, as any other.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
    task::AbortHandle,
};
use tracing::debug;

use crate::{
    runtime::InstanceId,
    shim::files::{Dir, Ended, Run, hint, read},
};

/// The shims that are watched.
#[derive(Debug)]
pub(super) struct Attendance {
    hints: PathBuf,
    watched: Arc<Mutex<Watched>>,
}

impl Attendance {
    pub(super) fn new(hints: PathBuf) -> Self {
        Self {
            hints,
            watched: Arc::default(),
        }
    }

    /// Watches the shim of a run, if it is not watched yet. Where that is not possible, the listings see its end.
    pub(super) fn watch(&self, instance: InstanceId, dir: &Dir, run: &Run) {
        let Ok(tokio) = Handle::try_current() else {
            return;
        };
        let mut watched = locked(&self.watched);
        if watched
            .get(&instance)
            .is_some_and(|(number, _)| *number == run.run)
        {
            return;
        }
        let fd = match open(run.shim) {
            Ok(fd) => fd,
            Err(error) => {
                debug!(%instance, shim = run.shim, %error, "a shim cannot be watched");
                return;
            }
        };
        let (all, hints) = (self.watched.clone(), self.hints.clone());
        let (dir, number) = (Dir(dir.0.clone()), run.run);
        let task = tokio.spawn(async move {
            if let Err(error) = fd.readable().await {
                debug!(%instance, %error, "a shim is watched no longer");
            }
            locked(&all).retain(|id, (other, _)| *id != instance || *other != number);
            // One that saw the end of its job has written it down and said so.
            let told = read::<Ended>(&dir.exit());
            if told.is_ok_and(|ended| ended.is_some_and(|ended| ended.run >= number)) {
                return;
            }
            if dir.job().exists() {
                hint::leave(&hints, instance, "exited");
            }
            // Taken away meanwhile, or long ago: nobody else would take the hint away.
            if !dir.job().exists() {
                hint::clear(&hints, instance);
            }
        });
        watched.insert(instance, (run.run, task.abort_handle()));
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        for (_, task) in locked(&self.watched).values() {
            task.abort();
        }
    }
}

fn open(shim: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(shim).ok_or(io::ErrorKind::InvalidInput)?;
    let fd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    #[expect(
        unsafe_code,
        reason = "tokio cannot know that the descriptor stays open"
    )]
    // SAFETY: the descriptor is owned, so it is open and the same one until the `AsyncFd` drops it.
    let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
    Ok(fd)
}

type Watched = BTreeMap<InstanceId, (u32, AbortHandle)>;

fn locked(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}
