//! The lease of an exclusive job, kept by its shim: a timer of CLOCK_BOOTTIME, which goes on while the machine sleeps.
//!
//! The agent renews it while its cluster hears it. Whoever renews no more, because it was killed, hangs or cannot reach anybody,
//! needs not be there at the end. A lease only ever grows: an agent that was started again knows an older one.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::files::Lease;

/// A lease with its alarm.
#[derive(Debug)]
pub(super) struct Timer {
    alarm: OwnedFd,
    lease: Lease,
}

impl Timer {
    /// Sets the alarm.
    ///
    /// # Errors
    /// The kernel gives no timer.
    pub(super) fn of(lease: Lease) -> io::Result<Self> {
        // Not inherited: the job must not hold it.
        let alarm = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let timer = Self { alarm, lease };
        timer.set()?;
        Ok(timer)
    }

    /// Whether the lease is over.
    pub(super) fn is_over(&self) -> bool {
        let now = clock_gettime(ClockId::Boottime);
        let millis = now.tv_sec.saturating_mul(1000) + now.tv_nsec / 1_000_000;
        u64::try_from(millis).unwrap_or(0) >= self.lease.until_ms
    }

    /// It holds until then at least, in milliseconds since the boot.
    pub(super) fn renew(&mut self, until_ms: u64) {
        if until_ms > self.lease.until_ms {
            let before = std::mem::replace(&mut self.lease.until_ms, until_ms);
            if self.set().is_err() {
                // The alarm stands where it was: so does the lease.
                self.lease.until_ms = before;
            }
        }
    }

    /// From TERM to KILL.
    pub(super) fn grace(&self) -> Duration {
        Duration::from_millis(self.lease.grace_ms)
    }

    fn set(&self) -> io::Result<()> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Zero would turn the timer off.
        let at = i64::try_from(self.lease.until_ms)
            .unwrap_or(i64::MAX)
            .max(1);
        let once = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: at / 1000,
                tv_nsec: at % 1000 * 1_000_000,
            },
        };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }
}
