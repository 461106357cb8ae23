//! Where the time of a deployment goes: stamps of one deployment, and their medians over many.
//!
//! All is seen from outside, by watches and by the engine's own record of the container; nothing is asked of edgeIO
//! that a user could not see.

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result};
use bollard::models::ContainerInspectResponse;
use edgeio_proto::api::v1::{Instance, InstancePhase};

use crate::{
    report::{Report, figure},
    stats::Series,
};

/// A moment of a deployment, in the order in which they come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Step {
    /// The root's answer: it is durable there.
    Accepted,
    /// The root has put the slot on the cluster.
    OnCluster,
    /// The cluster knows of the slot.
    AtCluster,
    /// The cluster has put an instance on the worker.
    OnWorker,
    /// The engine was asked to create the container.
    Created,
    /// The engine has started it.
    Started,
    /// The cluster has recorded that it runs.
    RunningAtCluster,
    /// The root has recorded that it runs, and the watching client sees it.
    Running,
}

impl Step {
    fn words(self) -> &'static str {
        match self {
            Step::Accepted => "root: accepted, durable",
            Step::OnCluster => "root: placed on the cluster",
            Step::AtCluster => "cluster: slot known",
            Step::OnWorker => "cluster: placed on the worker",
            Step::Created => "engine: asked to create",
            Step::Started => "engine: started",
            Step::RunningAtCluster => "cluster: RUNNING",
            Step::Running => "root: RUNNING, seen by the client",
        }
    }
}

/// The stamps of one deployment, in milliseconds since it was submitted.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    begin: Instant,
    begin_wall: SystemTime,
    stamps: BTreeMap<Step, f64>,
}

impl Trace {
    /// Begins now, by both clocks.
    pub(crate) fn begin(begin: Instant, begin_wall: SystemTime) -> Self {
        Self {
            begin,
            begin_wall,
            stamps: BTreeMap::new(),
        }
    }

    /// Keeps the first stamp of a step.
    pub(crate) fn stamp(&mut self, step: Step, at: Instant) {
        let since = at.saturating_duration_since(self.begin).as_secs_f64() * 1e3;
        self.stamps.entry(step).or_insert(since);
    }

    /// Stamps what an instance, as a tier shows it, says of the way that it has come.
    pub(crate) fn stamp_instance(&mut self, root: bool, instance: &Instance, at: Instant) {
        let runs = instance.phase() == InstancePhase::Running;
        if root {
            if !instance.cluster.is_empty() {
                self.stamp(Step::OnCluster, at);
            }
            if runs {
                self.stamp(Step::Running, at);
            }
        } else {
            self.stamp(Step::AtCluster, at);
            if !instance.worker.is_empty() {
                self.stamp(Step::OnWorker, at);
            }
            if runs {
                self.stamp(Step::RunningAtCluster, at);
            }
        }
    }

    /// Adds the engine's stamps, which are of the wall clock.
    pub(crate) fn stamp_container(&mut self, container: &ContainerInspectResponse) -> Result<()> {
        let created = container
            .created
            .context("the container has no time of creation")?;
        let state = container
            .state
            .as_ref()
            .context("the container has no state")?;
        let started = state
            .started_at
            .as_deref()
            .context("the container did not start")?;
        let started = humantime::parse_rfc3339(started).context("the time of the start")?;
        for (step, at) in [
            (Step::Created, SystemTime::from(created)),
            (Step::Started, started),
        ] {
            let since = at.duration_since(self.begin_wall).unwrap_or_default();
            self.stamps.insert(step, since.as_secs_f64() * 1e3);
        }
        Ok(())
    }

    /// Milliseconds until the client saw it run.
    pub(crate) fn total(&self) -> f64 {
        self.at(Step::Running)
    }

    /// The same without the time between the engine's own stamps of creation and start.
    pub(crate) fn outside_engine(&self) -> f64 {
        self.total() - (self.at(Step::Started) - self.at(Step::Created))
    }

    fn at(&self, step: Step) -> f64 {
        self.stamps.get(&step).copied().unwrap_or(f64::NAN)
    }
}

/// The stamps of many deployments.
#[derive(Default)]
pub(crate) struct Waterfall {
    at: BTreeMap<Step, Series>,
    took: BTreeMap<Step, Series>,
}

impl Waterfall {
    /// Adds a deployment.
    pub(crate) fn add(&mut self, trace: &Trace) {
        let mut before = 0.0;
        for (step, at) in &trace.stamps {
            self.at.entry(*step).or_default().add(*at);
            // Watches are not ordered among each other, so a later step may be seen a little earlier.
            self.took.entry(*step).or_default().add(at - before);
            before = *at;
        }
    }

    /// Prints the medians.
    pub(crate) fn tell(&self, report: &mut Report, title: &str) -> Result<()> {
        let nothing = Series::default();
        let mut cells = Vec::new();
        for (step, at) in &self.at {
            let took = self.took.get(step).unwrap_or(&nothing);
            cells.push(vec![
                step.words().to_owned(),
                figure(at.p50()),
                figure(took.p50()),
                figure(took.quantile(0.9)),
            ]);
            report.json(&serde_json::json!({
                "bench": "deploy", "waterfall": title, "step": step.words(), "n": at.n(),
                "at_ms_p50": at.p50(), "took_ms_p50": took.p50(), "took_ms_p90": took.quantile(0.9),
            }))?;
        }
        let heads = ["moment", "at (ms, median)", "since the one before", "p90"];
        report.table(title, &heads, &cells)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_stamp_counts_and_hops_add_up() {
        let begin = Instant::now();
        let mut trace = Trace::begin(begin, SystemTime::now());
        let at = |ms| begin + Duration::from_millis(ms);
        trace.stamp(Step::Accepted, at(2));
        let mut instance = Instance {
            cluster: "c".into(),
            ..Instance::default()
        };
        trace.stamp_instance(true, &instance, at(3));
        trace.stamp_instance(true, &instance, at(9));
        instance.worker = "w".into();
        instance.set_phase(InstancePhase::Running);
        trace.stamp_instance(false, &instance, at(11));
        trace.stamp_instance(true, &instance, at(12));
        assert_eq!(trace.total(), 12.0);
        assert_eq!(trace.stamps[&Step::OnCluster], 3.0);
        assert_eq!(trace.stamps[&Step::RunningAtCluster], 11.0);
        let mut waterfall = Waterfall::default();
        waterfall.add(&trace);
        let sum: f64 = waterfall.took.values().map(Series::p50).sum();
        assert!((sum - 12.0).abs() < 1e-9);
    }
}
