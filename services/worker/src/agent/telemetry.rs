//! Samples of the machine and of what runs on it. They are not state: the newest replaces the ones before, and a lost one is
//! not missed.

use std::{collections::HashMap, sync::Arc, time::Instant};

use edgeio_domain::ids::AssignmentId;
use edgeio_proto::link::v1;
use tracing::debug;

use crate::{
    inventory::Sampler,
    runtime::{InstanceId, Runtime},
};

/// What is kept from one sample to the next: counters of CPU time only grow.
#[derive(Debug, Default)]
pub(super) struct Meter {
    sampler: Option<Sampler>,
    before: HashMap<AssignmentId, (u64, Instant)>,
}

impl Meter {
    /// Takes one sample; returns itself, so that it can do so in a task of its own.
    pub(super) async fn sample(
        mut self,
        running: Vec<(AssignmentId, Arc<dyn Runtime>)>,
    ) -> (Self, v1::Telemetry) {
        let mut telemetry = v1::Telemetry::default();
        if self.sampler.is_none() {
            self.sampler = Sampler::new().ok();
        }
        match self.sampler.as_mut().map(Sampler::sample) {
            Some(Ok(usage)) => {
                telemetry.cpu_millis = usage.cpu_millis;
                telemetry.memory_bytes = usage.memory_bytes;
            }
            Some(Err(error)) => debug!(%error, "no sample of the machine"),
            None => {}
        }
        let mut now = HashMap::with_capacity(running.len());
        for (id, runtime) in running {
            // One after the other: samples are not urgent, and engines take CPU to answer.
            let Ok(stats) = runtime.stats(InstanceId(id.0)).await else {
                continue;
            };
            let at = Instant::now();
            let before = self.before.get(&id);
            telemetry.instances.push(v1::InstanceSample {
                id: id.to_string(),
                cpu_millis: before.map_or(0, |before| millis(*before, (stats.cpu_ns_total, at))),
                memory_bytes: i64::try_from(stats.memory_bytes).unwrap_or(i64::MAX),
            });
            now.insert(id, (stats.cpu_ns_total, at));
        }
        self.before = now;
        (self, telemetry)
    }
}

/// Thousandths of a core between two readings; a counter that was set back counts from zero.
fn millis(before: (u64, Instant), now: (u64, Instant)) -> i64 {
    let used = now.0.checked_sub(before.0).unwrap_or(now.0);
    let passed = now.1.duration_since(before.1).as_nanos().max(1);
    i64::try_from(u128::from(used) * 1000 / passed).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn half_a_core_is_five_hundred() {
        let start = Instant::now();
        let end = start + Duration::from_secs(2);
        assert_eq!(millis((5, start), (1_000_000_005, end)), 500);
        assert_eq!(
            millis((7_000_000_000, start), (1_000_000_000, end)),
            500,
            "set back"
        );
        assert_eq!(millis((0, start), (1, start)), 1000);
    }
}
