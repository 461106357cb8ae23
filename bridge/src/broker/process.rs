//! One child process that dies with its parent.
//!
//! The kernel's parent-death signal fires when the *thread* that started the child ends, and threads of an async
//! runtime come and go. So each child has a thread of its own, which starts it, waits for its end and reaps it.
//! Signals are sent under a lock that the reaping takes too, so they never reach a stranger with the same number.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::{oneshot, watch};

/// A child. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    alive: Arc<Mutex<bool>>,
    status: watch::Receiver<Option<String>>,
}

impl Process {
    /// Starts `binary --config config` with its output in `log`.
    pub(super) async fn spawn(binary: &Path, config: &Path, log: File) -> io::Result<Self> {
        let mut command = Command::new(binary);
        command
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C goes to the whole group of a terminal; the child is to end after those that use it.
            .process_group(0);
        die_with_parent(&mut command);

        let (started, wait_started) = oneshot::channel();
        let (tell_status, status) = watch::channel(None);
        let alive = Arc::new(Mutex::new(true));
        let reaper = Arc::clone(&alive);
        std::thread::Builder::new()
            .name("nats-server".to_owned())
            .spawn(move || {
                let child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                let _ = started.send(pid_of(&child));
                let ended = reap(child, &reaper);
                tell_status.send_replace(Some(ended));
            })?;
        let pid = wait_started.await.map_err(io::Error::other)??;
        Ok(Self { pid, alive, status })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, if it has.
    pub(super) fn status(&self) -> Option<String> {
        self.status.borrow().clone()
    }

    /// Waits for its end, and tells how it ended.
    pub(super) async fn exited(&self) -> String {
        let mut status = self.status.clone();
        let ended = status.wait_for(Option::is_some).await;
        ended
            .ok()
            .and_then(|status| status.clone())
            .unwrap_or_else(|| "unknown".to_owned())
    }

    /// Sends a signal, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if *alive {
            // It may have ended without being reaped: then there is nothing to do.
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the child has no process id"))
}

/// Waits for the child's end without reaping it, then reaps it under the lock.
fn reap(mut child: Child, alive: &Mutex<bool>) -> String {
    if let Ok(pid) = pid_of(&child) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(
            rustix::process::waitid(WaitId::Pid(pid), options),
            Err(rustix::io::Errno::INTR)
        ) {}
    }
    let mut alive = alive.lock().unwrap_or_else(PoisonError::into_inner);
    *alive = false;
    match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => format!("unknown: {error}"),
    }
}

/// Asks the kernel to kill the child when this thread ends, however it ends.
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    #[expect(
        unsafe_code,
        reason = "runs between fork and exec; makes two system calls and nothing else"
    )]
    // SAFETY: the closure allocates nothing, takes no lock and only makes async-signal-safe system calls.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the request: then nobody would ever send the signal.
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::Error::from(rustix::io::Errno::SRCH))
            }
        });
    }
}
