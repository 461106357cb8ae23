//! Which of the processes that share a database runs the engine: election by a lease in that database.
//!
//! The lease keeps replicas from doing the same work twice. It does not keep them from writing at the wrong time: a leader
//! can be paused for minutes after it was elected and go on as if nothing was. What does is the fence: every commit of the
//! engine names the lease's number, and the store compares it in that commit's own transaction. So a wrong guess about who
//! leads costs a commit that is refused, and the rules here may be simple.
//!
//! A lease is taken when it is over by the database's clock, or when it was not renewed for its whole length of this
//! machine's CLOCK_BOOTTIME. The second rule is for a database whose clock was set back: it would keep the lease of a dead
//! leader for as long as the jump. A clock that jumps forward has a living leader replaced early, and its next commit
//! refused. Where only this process can have the database open, any other holder is dead: the lease is taken at once and
//! never renewed, so that a tier on one machine neither waits after a crash nor writes while nothing happens.
//!
//! Deliberately absent: any lock in memory between processes, and any trust in the process's own wall clock.

use std::time::Duration;

use edgeio_domain::{
    plant::{self, Plant},
    time::Time,
};
use edgeio_store::{Fence, Lease, StoreError, Write};
use tracing::info;

use crate::context::Context;

/// Name of the engine's lease.
pub const ENGINE: &str = "engine";

/// The times of a lease, all parts of its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseTimes {
    /// Who does not renew it for so long may lose it.
    pub length: Duration,
}

impl LeaseTimes {
    /// How long after a renewal the next one is made: two thirds of the length (10 s of 15 s), so that a write every
    /// 10 s is all that an idle leader costs, and two more tries have room before it is over.
    #[must_use]
    pub fn renew(self) -> Duration {
        self.length * 2 / 3
    }

    /// How often one that is not held is looked at, and a renewal that failed tried again: 2 s of 15 s.
    #[must_use]
    pub fn retry(self) -> Duration {
        self.length * 2 / 15
    }
}

/// This process's part in the election.
#[derive(Debug, Default)]
pub(crate) struct Leader {
    /// What is held, and when it was renewed, by CLOCK_BOOTTIME.
    held: Option<(Lease, Time)>,
    /// Another's lease as it was seen first, and when, by CLOCK_BOOTTIME.
    seen: Option<(Lease, Time)>,
    /// When the lease was looked at last, by CLOCK_BOOTTIME.
    tried: Option<Time>,
}

/// What to do about the lease.
enum Claim {
    /// Write it so.
    Put(Lease),
    /// Another one has it.
    Wait,
}

impl Leader {
    /// What this process's commits are fenced by while it leads.
    pub(crate) fn fence(&self) -> Option<Fence> {
        self.held.as_ref().map(|(lease, _)| lease.fence())
    }

    /// Takes or renews the lease where that is due. Answers the fence while this process leads.
    pub(crate) async fn attempt(&mut self, context: &Context) -> Result<Option<Fence>, StoreError> {
        let boot = context.clock.boot();
        if self.rests(context, boot).is_some() {
            return Ok(self.fence());
        }
        self.tried = Some(boot);
        if self.held.is_none() {
            // Standing by costs a read and no turn to write.
            let tx = context.store.read().await?;
            let recorded = tx.lease(ENGINE).await?;
            let now = tx.now().await?;
            if matches!(self.claim(context, recorded, now, boot), Claim::Wait) {
                return Ok(None);
            }
        }
        let mut tx = context.store.write().await?;
        let recorded = tx.lease(ENGINE).await?;
        let now = tx.now().await?;
        let Claim::Put(lease) = self.claim(context, recorded, now, boot) else {
            if self.held.is_some() {
                self.step_down();
            }
            return Ok(None);
        };
        tx.stage(Write::PutLease(lease.clone()));
        tx.commit().await?;
        let before = self.held.replace((lease.clone(), boot));
        if before.is_none_or(|(before, _)| before.epoch != lease.epoch) {
            info!(epoch = lease.epoch, "this process runs the engine now");
        }
        self.seen = None;
        Ok(self.fence())
    }

    /// Another process was faster: what is done from now on is its part.
    pub(crate) fn step_down(&mut self) {
        if let Some((lease, _)) = self.held.take() {
            info!(
                epoch = lease.epoch,
                "another process runs the engine, this one stands by"
            );
        }
    }

    /// Gives the lease away, so that another process need not wait for its end.
    pub(crate) async fn resign(&mut self, context: &Context) -> Result<(), StoreError> {
        let Some((mut lease, _)) = self.held.take() else {
            return Ok(());
        };
        if context.store.is_exclusive() {
            return Ok(());
        }
        let mut tx = context.store.write().await?;
        tx.fence(lease.fence());
        lease.expires_at = Time::default();
        tx.stage(Write::PutLease(lease));
        match tx.commit().await {
            // Then it is another's already.
            Ok(_) | Err(StoreError::Fenced { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How long nothing is to be done about the lease; `None` when something is due now. Without end where only this
    /// process can have the database.
    pub(crate) fn rests(&self, context: &Context, boot: Time) -> Option<Duration> {
        let times = context.times.leader();
        let left = |since: Time, wait: Duration| wait.checked_sub(boot.since(since));
        let tried = self.tried.and_then(|tried| left(tried, times.retry()));
        let rests = match &self.held {
            Some(_) if context.store.is_exclusive() => Some(Duration::MAX),
            Some((_, renewed)) => left(*renewed, times.renew()).max(tried),
            None if context.store.is_exclusive() => None,
            None => tried,
        };
        rests.filter(|rests| !rests.is_zero())
    }

    fn claim(
        &mut self,
        context: &Context,
        recorded: Option<Lease>,
        now: Time,
        boot: Time,
    ) -> Claim {
        let length = context.times.leader().length;
        let mine = Lease {
            name: ENGINE.to_owned(),
            holder: context.replica,
            epoch: 1,
            expires_at: now + length,
        };
        let Some(recorded) = recorded else {
            return Claim::Put(mine);
        };
        let next = Lease {
            epoch: recorded.epoch + 1,
            ..mine
        };
        if let Some((held, _)) = &self.held {
            // Over or not: nobody took it, so nobody else wrote by it.
            if held.fence() == recorded.fence() || plant::on(Plant::SkipEpochCheck) {
                return Claim::Put(Lease {
                    epoch: held.epoch,
                    ..next
                });
            }
            return Claim::Wait;
        }
        if recorded.holder == context.replica || context.store.is_exclusive() {
            return Claim::Put(next);
        }
        let since = match &self.seen {
            Some((seen, since)) if *seen == recorded => *since,
            Some(_) | None => {
                self.seen = Some((recorded.clone(), boot));
                boot
            }
        };
        if now >= recorded.expires_at || boot.since(since) >= length {
            Claim::Put(next)
        } else {
            Claim::Wait
        }
    }
}
