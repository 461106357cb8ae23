//! One worker or cluster in full: the machine, what it offers, whether it is heard, and what runs there.
//!
//! Deliberately absent: what happened to it. No call lists events yet.

use edgeio_proto::{
    api::v1::Instance,
    cluster::v1::{
        GetRequest as GetWorker, Inventory, Worker, worker_service_client::WorkerServiceClient,
    },
    link::v1::{Bucket, Capacity, Resources},
    root::v1::{Cluster, GetRequest as GetCluster, cluster_service_client::ClusterServiceClient},
};

use crate::{
    commands::get::tables,
    error::CliError,
    output::{
        table::{pairs, table},
        text::{bytes, child_state, cores, dash, instant, worker_state},
    },
    remote::Remote,
};

/// The worker of that name or id, and what runs there.
pub(super) async fn worker(
    remote: &Remote,
    name: &str,
) -> Result<(Worker, Vec<Instance>), CliError> {
    let request = GetWorker {
        worker: name.to_owned(),
    };
    let answer = remote
        .try_call(|channel| {
            let request = request.clone();
            async move { WorkerServiceClient::new(channel).get(request).await }
        })
        .await;
    let worker = match answer {
        Ok(answer) => answer.worker,
        Err(status) => {
            let (attempt, command) = (
                format!("describe worker `{name}`"),
                format!("describe worker {name}"),
            );
            return Err(remote.no_workers_here(&attempt, &command, &status).await);
        }
    };
    let worker = worker.ok_or_else(|| nothing("worker", name))?;
    let mut instances = remote.instances("", "").await?;
    instances.retain(|instance| instance.worker == worker.name);
    Ok((worker, instances))
}

/// The cluster of that name or id, and what runs there.
pub(super) async fn cluster(
    remote: &Remote,
    name: &str,
) -> Result<(Cluster, Vec<Instance>), CliError> {
    let request = GetCluster {
        cluster: name.to_owned(),
    };
    let answer = remote
        .try_call(|channel| {
            let request = request.clone();
            async move { ClusterServiceClient::new(channel).get(request).await }
        })
        .await
        .map_err(|status| remote.wrong_tier(&format!("describe cluster `{name}`"), &status))?;
    let cluster = answer.cluster.ok_or_else(|| nothing("cluster", name))?;
    let mut instances = remote.instances("", "").await?;
    instances.retain(|instance| instance.cluster == cluster.name);
    Ok((cluster, instances))
}

fn nothing(noun: &str, name: &str) -> CliError {
    CliError::Failed(format!(
        "describe {noun} `{name}`: the server answered nothing"
    ))
}

/// A worker for people.
pub(super) fn show_worker(worker: &Worker, instances: &[Instance]) -> String {
    let machine = worker.inventory.clone().unwrap_or_default();
    let used = worker.telemetry.as_ref();
    let mut text = pairs(&[
        ("Worker", worker.name.clone()),
        (
            "State",
            tables::silence(
                "worker",
                worker_state(worker.state),
                worker.replacement().as_str_name(),
                worker.silent_for_ms,
            ),
        ),
        ("Last heard", instant(worker.last_heard.as_ref())),
        ("Version", worker.version.clone()),
        ("Host name", machine.hostname.clone()),
        ("Addresses", machine.addresses.join(", ")),
        ("System", machine.operating_system.clone()),
        ("Kernel", machine.kernel.clone()),
        ("Architecture", machine.architecture.clone()),
        (
            "Cores",
            known(u64::from(machine.cores), machine.cores.to_string()),
        ),
        (
            "Memory",
            known(machine.memory_bytes, size(machine.memory_bytes)),
        ),
        ("Disk", known(machine.disk_bytes, size(machine.disk_bytes))),
        (
            "In use",
            used.map_or_else(String::new, |used| {
                format!(
                    "{} CPU, {} memory",
                    cores(used.cpu_millis),
                    bytes(used.memory_bytes)
                )
            }),
        ),
        ("Id", worker.id.clone()),
    ]);
    text += &offers(worker.capacity.as_ref());
    text += &runtimes(&machine);
    text += &there(instances);
    text
}

/// A cluster for people.
pub(super) fn show_cluster(cluster: &Cluster, instances: &[Instance]) -> String {
    let capacity = cluster.capacity.as_ref();
    let mut text = pairs(&[
        ("Cluster", cluster.name.clone()),
        (
            "State",
            tables::silence(
                "cluster",
                child_state(cluster.state),
                cluster.replacement().as_str_name(),
                cluster.silent_for_ms,
            ),
        ),
        ("Last heard", instant(cluster.last_heard.as_ref())),
        ("Address", cluster.address.clone()),
        ("Version", cluster.version.clone()),
        (
            "Workers",
            capacity.map_or_else(String::new, |c| c.workers.to_string()),
        ),
        ("Id", cluster.id.clone()),
    ]);
    text += &offers(capacity);
    if let Some(kinds) = capacity
        .map(|c| &c.buckets)
        .filter(|kinds| !kinds.is_empty())
    {
        text += "\nKinds of workers\n";
        let row = |kind: &Bucket| {
            vec![
                kind.workers.to_string(),
                dash(&kind.architecture),
                dash(&kind.runtimes.join(",")),
                amount(kind.free),
                amount(kind.largest),
            ]
        };
        let rows: Vec<Vec<String>> = kinds.iter().map(row).collect();
        let headings = ["WORKERS", "ARCH", "RUNTIMES", "FREE", "LARGEST FREE PIECE"];
        text += &table(&headings, &rows);
    }
    text += &there(instances);
    text
}

fn offers(capacity: Option<&Capacity>) -> String {
    let Some(capacity) = capacity else {
        return String::new();
    };
    let lines = pairs(&[
        ("Can be placed", amount(capacity.allocatable)),
        ("Free", amount(capacity.free)),
    ]);
    format!("\nCapacity\n{lines}")
}

fn runtimes(machine: &Inventory) -> String {
    if machine.runtimes.is_empty() {
        return "\nNo runtime was found there\n".to_owned();
    }
    let rows: Vec<Vec<String>> = machine
        .runtimes
        .iter()
        .map(|runtime| {
            let mut missing: Vec<String> = runtime
                .missing
                .iter()
                .map(|(what, why)| format!("{what}: {why}"))
                .collect();
            missing.sort();
            vec![
                runtime.name.clone(),
                dash(&runtime.version),
                dash(&runtime.features.join(",")),
                dash(&missing.join("; ")),
            ]
        })
        .collect();
    let rows = table(&["NAME", "VERSION", "CAN", "CANNOT"], &rows);
    format!("\nRuntimes\n{rows}")
}

fn there(instances: &[Instance]) -> String {
    if instances.is_empty() {
        return "\nNothing is placed there\n".to_owned();
    }
    format!("\nInstances\n{}", tables::instances(instances))
}

fn amount(resources: Option<Resources>) -> String {
    let resources = resources.unwrap_or_default();
    format!(
        "{} CPU, {} memory",
        cores(resources.cpu_millis),
        bytes(resources.memory_bytes)
    )
}

fn size(value: u64) -> String {
    bytes(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Nothing for what was not told.
fn known(value: u64, shown: String) -> String {
    if value == 0 { String::new() } else { shown }
}

#[cfg(test)]
mod tests {
    use edgeio_proto::cluster::v1::{Replacement, RuntimeInfo, WorkerState};

    use super::*;

    #[test]
    fn a_worker_is_shown_with_its_machine_and_why_it_is_not_replaced() {
        let worker = Worker {
            name: "a1".to_owned(),
            state: WorkerState::Disconnected.into(),
            replacement: Replacement::Unproven.into(),
            silent_for_ms: 90_000,
            inventory: Some(Inventory {
                hostname: "box\u{1b}[2J".to_owned(),
                architecture: "arm64".to_owned(),
                memory_bytes: 4 << 30,
                runtimes: vec![RuntimeInfo {
                    name: "process".to_owned(),
                    features: vec!["limits".to_owned()],
                    missing: [("pause".to_owned(), "no freezer".to_owned())].into(),
                    ..RuntimeInfo::default()
                }],
                ..Inventory::default()
            }),
            capacity: Some(Capacity {
                free: Some(Resources {
                    cpu_millis: 1500,
                    memory_bytes: 1 << 30,
                }),
                ..Capacity::default()
            }),
            ..Worker::default()
        };
        let on_it = Instance {
            application: "shop".to_owned(),
            worker: "a1".to_owned(),
            ..Instance::default()
        };
        let text = show_worker(&worker, &[on_it]);
        for part in [
            "not replaced: no other worker was heard",
            "arm64",
            "limits",
            "pause: no freezer",
            "shop",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains("Disk"), "{text}");
        let idle = show_worker(&Worker::default(), &[]);
        assert!(idle.contains("Nothing is placed there"), "{idle}");
    }

    #[test]
    fn a_cluster_is_shown_with_its_kinds_of_workers() {
        let cluster = Cluster {
            name: "north".to_owned(),
            address: "north:10100".to_owned(),
            capacity: Some(Capacity {
                workers: 3,
                buckets: vec![Bucket {
                    architecture: "amd64".to_owned(),
                    runtimes: vec!["docker".to_owned()],
                    workers: 3,
                    ..Bucket::default()
                }],
                ..Capacity::default()
            }),
            ..Cluster::default()
        };
        let text = show_cluster(&cluster, &[]);
        for part in [
            "north:10100",
            "Kinds of workers",
            "docker",
            "LARGEST FREE PIECE",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
