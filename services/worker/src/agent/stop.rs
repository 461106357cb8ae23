//! Stopping every job at the end, for a worker that lives only as long as the program that it is part of.

use std::time::Duration;

use edgeio_domain::spec::DEFAULT_STOP_GRACE;
use tokio::{task::JoinSet, time::timeout};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::engines::Engines;

/// How long all jobs may take: the usual grace, and the time to kill.
const STOP_ALL_WITHIN: Duration = Duration::from_secs(25);

/// Stops and removes every job of a worker.
pub(super) async fn stop_all(engines: &Engines, worker: Uuid) {
    let mut tasks = JoinSet::new();
    for runtime in &engines.0 {
        match runtime.list_owned(worker).await {
            Ok(all) => {
                for observed in all {
                    let runtime = runtime.clone();
                    tasks.spawn(async move {
                        let id = observed.instance();
                        let stopped = runtime.stop(id, DEFAULT_STOP_GRACE).await;
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
    if timeout(STOP_ALL_WITHIN, all).await.is_err() {
        warn!("some jobs did not stop in time");
    }
}
