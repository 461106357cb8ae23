//! What a container uses, asked from the engine: for one whose control group we do not see.
//!
//! It takes the engine a second and a lot of work; a hundred containers asked every second would be most of what the node does.

use bollard::{Docker, errors::Error, query_parameters::StatsOptionsBuilder};
use futures::StreamExt;

use crate::runtime::Stats;

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
