//! The machine's clocks: the only place of the agent where time is read. Waits are measured on the boot clock, which goes on
//! while the machine sleeps and never jumps; what is recorded is of the wall clock, which may.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use edgeio_domain::time::Time;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::sleep,
};
use tracing::error;

use crate::node::Now;

/// A timer of the boot clock. The runtime's own timers stand still while the machine sleeps: what was due meanwhile would
/// come late by all that was left, and the end of a lease must not.
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// A timer that is not set.
    ///
    /// # Errors
    /// The kernel gives none, as when too many files are open.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        #[expect(
            unsafe_code,
            reason = "tokio cannot know that the descriptor stays open"
        )]
        // SAFETY: the descriptor is owned, so it is open and the same one until the `AsyncFd` drops it.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self(timer))
    }

    /// Waits until then. May be dropped at any time.
    pub(super) async fn at(&self, at: Time) {
        if let Err(fault) = self.ring(at).await {
            // The next best clock; it is only late after a sleep of the machine.
            error!(error = %fault, "the timer of the boot clock does not work");
            sleep(at.since(now().boot)).await;
        }
    }

    async fn ring(&self, at: Time) -> io::Result<()> {
        // Zero would turn the timer off.
        let millis = at.0.max(1);
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: millis / 1000,
                tv_nsec: millis % 1000 * 1_000_000,
            },
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut times = [0_u8; 8];
            match rustix::io::read(self.0.get_ref(), &mut times) {
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// Both clocks, now.
pub(super) fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    Now {
        boot: Time(
            boot.tv_sec
                .saturating_mul(1000)
                .saturating_add(boot.tv_nsec / 1_000_000),
        ),
        wall: time(SystemTime::now()),
    }
}

/// A point in time of the wall clock.
pub(super) fn time(at: SystemTime) -> Time {
    let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => Time(millis(since)),
        Err(before) => Time(-millis(before.duration())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_rings_at_its_time_and_can_be_set_anew() {
        let alarm = Alarm::new().unwrap();
        let begin = now().boot;
        alarm.at(begin - Duration::from_secs(10)).await;
        alarm.at(Time(0)).await;
        let late = alarm.at(begin + Duration::from_secs(3600));
        let dropped = tokio::time::timeout(Duration::from_millis(20), late).await;
        assert!(dropped.is_err(), "it rang an hour early");
        let due = now().boot + Duration::from_millis(30);
        alarm.at(due).await;
        assert!(now().boot >= due);
    }
}
