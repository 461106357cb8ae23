//! What runs, as the engine and the kernel show it, and what a worker keeps of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed,
    containers::Container,
    diary::{Diary, keepers},
    native::{self, Process},
    tier::sketch,
};
use edgeio_proto::api::v1::{Instance, InstancePhase, Reachability};

/// What a tier calls running, held against the machine: the processes that keep the diary and the containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) jobs: BTreeSet<Process>,
    pub(crate) containers: BTreeMap<String, Container>,
}

impl Seen {
    /// What runs for these instances, all of which must: exactly one process or container each.
    pub(crate) async fn of(bed: &Bed, instances: &[Instance]) -> Result<Self> {
        let (mut processes, mut containers) = (keepers(bed), bed.containers().await?);
        let handles: BTreeSet<&str> = instances.iter().map(|i| i.handle.as_str()).collect();
        ensure!(
            handles.len() == instances.len(),
            "not one each: {}",
            sketch(instances)
        );
        processes.retain(|p| handles.contains(p.handle().as_str()));
        containers.retain(|_, c| handles.contains(c.id.as_str()) && c.status == "running");
        ensure!(
            processes.len() + containers.len() == handles.len(),
            "said: {handles:?}\nfound: {processes:?} {containers:?}"
        );
        Ok(Self {
            jobs: processes,
            containers,
        })
    }

    /// Everything that runs on the machine for this bed.
    pub(crate) async fn all(bed: &Bed) -> Result<Self> {
        Ok(Self {
            jobs: keepers(bed),
            containers: bed.containers().await?,
        })
    }

    /// Whether all of `other` is here, untouched: same numbers, same starts.
    pub(crate) fn holds(&self, other: &Seen) -> Result<()> {
        for (instance, container) in &other.containers {
            let now = self.containers.get(instance);
            ensure!(now == Some(container), "{container:?} became {now:?}");
        }
        ensure!(
            other.jobs.is_subset(&self.jobs),
            "{:?} became {:?}",
            other.jobs,
            self.jobs
        );
        Ok(())
    }
}

/// Whether an instance runs as wished, as far as its tier knows.
pub(crate) fn runs(instance: &Instance) -> bool {
    instance.phase() == InstancePhase::Running
        && instance.reachability() == Reachability::Reachable
        && !instance.retiring
}

/// Whether the machine holds nothing but what runs: no other job, container, shim, control group or directory of a worker.
pub(crate) async fn nothing_else(bed: &Bed, what: &Seen) -> Result<()> {
    let now = Seen::all(bed).await?;
    ensure!(now == *what, "wanted: {what:?}\nfound: {now:?}");
    let shims = native::shims(bed.dir());
    ensure!(
        shims.len() == what.jobs.len(),
        "{} jobs have the shims {shims:?}",
        what.jobs.len()
    );
    let mut kept = BTreeSet::new();
    for worker in bed.homes().keys() {
        for entry in std::fs::read_dir(bed.data(worker).join("process/jobs"))?.flatten() {
            kept.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    ensure!(
        kept.len() == what.jobs.len(),
        "{} jobs have the directories {kept:?}",
        what.jobs.len()
    );
    for instance in Diary::of(bed).account()?.instances {
        if !kept.contains(&instance) {
            let groups = control_groups(&instance);
            ensure!(groups.is_empty(), "left behind: {groups:?}");
        }
    }
    Ok(())
}

/// The control groups of an instance.
fn control_groups(instance: &str) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = text.lines().filter(|line| line.contains(" - cgroup"));
    let at = mounts.filter_map(|line| line.split(' ').nth(4));
    at.map(|at| format!("{at}/edgeio/{instance}"))
        .filter(|group| std::path::Path::new(group).exists())
        .collect()
}
