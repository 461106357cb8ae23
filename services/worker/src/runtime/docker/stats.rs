//! What a container uses: read from its control group where we see it, asked from the engine elsewhere.
//!
//! The engine's own answer takes it a second and a lot of work; a hundred containers asked every second would be most of what the
//! node does.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use bollard::{Docker, errors::Error, query_parameters::StatsOptionsBuilder};
use futures::StreamExt;

use crate::runtime::{
    InstanceId, Stats,
    cgroup::{Group, Hierarchies},
};

/// The control groups of running containers.
#[derive(Default)]
pub(super) struct Groups {
    hierarchies: OnceLock<Option<Hierarchies>>,
    known: Mutex<HashMap<InstanceId, Group>>,
}

impl Groups {
    /// What a known group says; `None` makes the caller look anew.
    pub(super) fn usage(&self, instance: InstanceId) -> Option<Stats> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = known.get(&instance)?.usage().ok();
        if usage.is_none() {
            known.remove(&instance);
        }
        usage
    }

    /// Finds the group by the main process. Its path must hold the container's id: in another process namespace, the number is a stranger's.
    pub(super) fn find(&self, instance: InstanceId, pid: u32, id: &str) -> Option<Stats> {
        let hierarchies = self.hierarchies.get_or_init(|| Hierarchies::read().ok());
        let group = hierarchies.as_ref()?.of_process(pid).ok()?;
        if !group.names(id) {
            return None;
        }
        let usage = group.usage().ok()?;
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(instance, group);
        Some(usage)
    }

    pub(super) fn forget(&self, instance: InstanceId) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&instance);
    }
}

/// Asks the engine once.
pub(super) async fn ask(docker: &Docker, id: &str) -> Result<Stats, Error> {
    let options = StatsOptionsBuilder::new()
        .stream(false)
        .one_shot(true)
        .build();
    let Some(answer) = docker.stats(id, Some(options)).next().await.transpose()? else {
        return Ok(Stats::default());
    };
    let cpu = answer
        .cpu_stats
        .and_then(|c| c.cpu_usage?.total_usage)
        .unwrap_or(0);
    let memory = answer.memory_stats.unwrap_or_default();
    let details = memory.stats.unwrap_or_default();
    let idle = details
        .get("total_inactive_file")
        .or_else(|| details.get("inactive_file"));
    let used = memory.usage.unwrap_or(0);
    let memory_bytes = used.saturating_sub(idle.copied().unwrap_or(0));
    Ok(Stats {
        cpu_ns_total: cpu,
        memory_bytes,
    })
}
