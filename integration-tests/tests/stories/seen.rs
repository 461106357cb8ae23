//! What edgeio says runs, held against what the engine and the kernel show.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{
    Bed, Tier,
    containers::Container,
    eventually,
    native::Process,
    tier::{Running, sketch},
};
use edgeio_proto::api::v1::InstancePhase;

/// What runs for a bed's applications, as seen from outside. Two that are equal prove that nothing was touched between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) containers: BTreeMap<String, Container>,
    pub(crate) jobs: BTreeSet<Process>,
}

impl Seen {
    /// Whether all of `other` is here, untouched.
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

/// Waits until exactly these containers and native jobs run on the machine.
pub(crate) async fn seen(bed: &Bed, containers: &Running, jobs: &Running) -> Result<Seen> {
    eventually(
        "the machine runs what edgeio says, and nothing else",
        async || look(bed, containers, jobs).await,
    )
    .await
}

/// Waits until a tier's services `web` and `job` run so often by all accounts, and `good` says so of what is seen.
pub(crate) async fn settled(
    bed: &Bed,
    tier: &Tier,
    replicas: (usize, usize),
    good: impl Fn(&Seen) -> bool,
) -> Result<Seen> {
    eventually("all accounts agree", async || {
        let all = tier.instances("shop").await?;
        let of = |service: &str| -> Running {
            let of = all
                .iter()
                .filter(|i| i.service == service && i.phase() == InstancePhase::Running);
            of.map(|i| (i.id.clone(), i.clone())).collect()
        };
        let (web, job) = (of("web"), of("job"));
        ensure!((web.len(), job.len()) == replicas, "{}", sketch(&all));
        let found = look(bed, &web, &job).await?;
        ensure!(good(&found), "not yet: {found:?}");
        Ok(found)
    })
    .await
}

async fn look(bed: &Bed, containers: &Running, jobs: &Running) -> Result<Seen> {
    let found = bed.containers().await?;
    ensure!(
        found.len() == containers.len()
            && containers.iter().all(|(id, instance)| {
                found.get(id).is_some_and(|container| {
                    container.status == "running" && container.id == instance.handle
                })
            }),
        "said: {containers:?}\nfound: {found:?}"
    );
    let processes = bed.jobs();
    let handles: BTreeSet<String> = processes.iter().map(Process::handle).collect();
    let said: BTreeSet<String> = jobs.values().map(|i| i.handle.clone()).collect();
    ensure!(handles == said, "said: {said:?}\nfound: {processes:?}");
    Ok(Seen {
        containers: found,
        jobs: processes,
    })
}
