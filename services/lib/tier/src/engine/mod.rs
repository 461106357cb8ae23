//! The one loop that plans and places: gather, plan, act, in one write transaction.
//!
//! It takes no argument and keeps nothing that the database does not hold, except decoded specs. An event may hasten a
//! run and never steers it. Running it again without a change finds nothing to do.

mod demands;
mod found;
mod gather;
mod place;
mod preview;
mod run;

use demands::Demands;
use edgeio_store::StoreError;
use tokio::sync::Mutex;

use crate::context::Context;

/// The engine of a tier.
pub struct Engine {
    context: Context,
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
}

impl Engine {
    /// An engine over the tier's parts.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self {
            context,
            demands: Mutex::new(Demands::default()),
        }
    }

    /// Plans and places once.
    ///
    /// # Errors
    /// The store failed; nothing was changed.
    pub async fn run_once(&self) -> Result<Outcome, EngineError> {
        run::run(&self.context, &mut *self.demands.lock().await).await
    }
}
