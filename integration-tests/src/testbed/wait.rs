//! Waiting: look until it is so, and say what was seen last when it never is.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long a story waits for anything. A busy machine takes ten times what an idle one does; only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks: short against what is waited for, long against what a look costs.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until the answer is `Ok`.
///
/// # Errors
/// It was not within a minute: what was waited for and the last answer.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    eventually_within(PATIENCE, what, look).await
}

/// Looks until the answer is `Ok`, for as long as is said.
///
/// # Errors
/// It was not within that time: what was waited for and the last answer.
pub async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let from = Instant::now();
    loop {
        // A look that hangs is a look that fails.
        let answer = match tokio::time::timeout(patience, look()).await {
            Ok(answer) => answer,
            Err(_) => Err(anyhow!("no answer")),
        };
        match answer {
            Ok(found) => return Ok(found),
            Err(last) if from.elapsed() > patience => {
                return Err(last.context(format!("never seen in {patience:?}: {what}; last seen")));
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
