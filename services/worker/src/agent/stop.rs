//! Stopping every job at the end, for a worker that lives only as long as the program that it is part of.

use std::{collections::BTreeMap, time::Duration};

use edgeio_domain::{ids::AssignmentId, spec::DEFAULT_STOP_GRACE};
use tokio::{task::JoinSet, time::timeout};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::engines::Engines;

/// What jobs may take beyond the longest of their graces: the time to kill and to remove them.
const MARGIN: Duration = Duration::from_secs(15);

/// Stops and removes every job of a worker, each with its own grace.
pub(super) async fn stop_all(
    engines: &Engines,
    worker: Uuid,
    graces: &BTreeMap<AssignmentId, Duration>,
) {
    let mut longest = Duration::ZERO;
    let mut tasks = JoinSet::new();
    for runtime in &engines.0 {
        match runtime.list_owned(worker).await {
            Ok(all) => {
                for observed in all {
                    let runtime = runtime.clone();
                    let id = observed.instance();
                    let own = graces.get(&AssignmentId(id.0)).copied();
                    let grace = own.unwrap_or(DEFAULT_STOP_GRACE);
                    longest = longest.max(grace);
                    tasks.spawn(async move {
                        let stopped = runtime.stop(id, grace).await;
                        (id, stopped.and(runtime.remove(id).await))
                    });
                }
            }
            Err(error) => {
                warn!(runtime = %runtime.kind(), error = %error.chain(), "jobs are left running")
            }
        }
    }
    info!(%worker, jobs = tasks.len(), "stopping jobs");
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((id, Err(error))) => {
                    warn!(instance = %id, error = %error.chain(), "a job is left running");
                }
                Err(error) => error!(%error, "a task of the agent panicked"),
            }
        }
    };
    if timeout(longest + MARGIN, all).await.is_err() {
        warn!("some jobs did not stop in time");
    }
}
