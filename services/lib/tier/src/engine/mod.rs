//! The one loop that plans and places: gather, plan, act, in one write transaction.
//!
//! It runs only in the process that leads (see [`crate::leader`]), and every commit of it is fenced by the number under which
//! that process was elected. It takes no argument and keeps nothing that the database does not hold, except decoded specs. An event may hasten a
//! run and never steers it. Running it again without a change finds nothing to do.

mod demands;
pub(crate) mod found;
mod gather;
mod place;
mod preview;
mod run;

pub(crate) use demands::Demands;
use edgeio_store::{StoreError, Write};
use std::time::Duration;
use tokio::sync::Mutex;

use crate::{context::Context, leader::Leader};

/// The engine of a tier.
pub struct Engine {
    context: Context,
    leader: Mutex<Leader>,
    demands: Mutex<Demands>,
}

/// Why a run ended without its work done. The next run begins anew.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error("plan and place")]
    Store(#[from] StoreError),
}

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Writes that were committed.
    pub writes: usize,
    /// When to run again at the latest, by the wall clock.
    pub again: Option<edgeio_domain::time::Time>,
    /// Run again within this time, for the sake of the lease.
    pub within: Option<Duration>,
    /// The number under which this process leads; `None` while another one does.
    pub leads: Option<u64>,
}

impl Engine {
    /// An engine over the tier's parts.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self {
            context,
            leader: Mutex::default(),
            demands: Mutex::new(Demands::default()),
        }
    }

    /// Plans and places once, if this process leads.
    ///
    /// # Errors
    /// The store failed; nothing was changed.
    pub async fn run_once(&self) -> Result<Outcome, EngineError> {
        let mut leader = self.leader.lock().await;
        let mut outcome = Outcome::default();
        if let Some(fence) = leader.attempt(&self.context).await? {
            let demands = &mut *self.demands.lock().await;
            match run::run(&self.context, demands, fence).await {
                Ok(ran) => outcome = ran,
                Err(EngineError::Store(StoreError::Fenced { .. })) => leader.step_down(),
                Err(error) => return Err(error),
            }
        }
        let boot = self.context.clock.boot();
        let rests = leader.rests(&self.context, boot).unwrap_or_default();
        outcome.within = (rests < Duration::MAX).then_some(rests);
        outcome.leads = leader.fence().map(|fence| fence.epoch);
        Ok(outcome)
    }

    /// Removes what was kept long enough, if this process leads.
    ///
    /// # Errors
    /// The store failed; nothing was removed.
    pub async fn compact(&self) -> Result<(), EngineError> {
        let mut leader = self.leader.lock().await;
        let Some(fence) = leader.fence() else {
            return Ok(());
        };
        let mut tx = self.context.store.write().await?;
        tx.fence(fence);
        tx.stage(Write::Compact(
            self.context.clock.wall() - self.context.times.retention,
        ));
        match tx.commit().await {
            Ok(_) => {}
            Err(StoreError::Fenced { .. }) => leader.step_down(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Lets another process take over at once. To be called when this one ends.
    ///
    /// # Errors
    /// The store failed; the others wait for the lease's end.
    pub async fn resign(&self) -> Result<(), EngineError> {
        Ok(self.leader.lock().await.resign(&self.context).await?)
    }
}
