//! Lists as tables, one row a thing; what a server wrote is cleaned by the table itself.

use std::{fmt::Write as _, time::Duration};

use edgeio_proto::{
    api::v1::{Application, Held, Instance, Reachability, ServiceSpec, ServiceStatus},
    cluster::v1::Worker,
    link::v1::{Capacity, Resources},
    root::v1::Cluster,
};
use serde_json::json;

use crate::{
    error::CliError,
    observe,
    output::{
        json,
        table::table,
        text::{
            age, application_phase, bytes, child_state, cores, dash, instance_phase, short,
            worker_state,
        },
    },
};

/// A table, or nothing when there are no rows.
fn listed(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        String::new()
    } else {
        table(headings, &rows)
    }
}

pub(super) fn apps(applications: &[Application]) -> String {
    let rows = applications.iter().map(|app| {
        let status = app.status.clone().unwrap_or_default();
        let sum = |of: fn(&ServiceStatus) -> u32| status.services.iter().map(of).sum::<u32>();
        let running = sum(|s| s.running + s.completed);
        vec![
            app.namespace.clone(),
            app.name.clone(),
            application_phase(status.phase),
            format!("{running}/{}", sum(|s| s.replicas)),
            sum(|s| s.pending).to_string(),
            sum(|s| s.failed).to_string(),
            app.owner.clone(),
            app.version.to_string(),
            age(app.created_at.as_ref()),
            if status.waiting_for.is_empty() {
                String::new()
            } else {
                format!("waits for {}", status.waiting_for.join(", "))
            },
        ]
    });
    listed(
        &[
            "NAMESPACE",
            "NAME",
            "PHASE",
            "RUNNING",
            "PENDING",
            "FAILED",
            "OWNER",
            "VERSION",
            "AGE",
            "",
        ],
        rows.collect(),
    )
}

/// Each service with its counts, which may lag behind the spec.
fn each_service(
    applications: &[Application],
) -> impl Iterator<Item = (&Application, &ServiceSpec, ServiceStatus)> {
    applications.iter().flat_map(|app| {
        let specs = app.spec.iter().flat_map(|spec| &spec.services);
        specs.map(move |spec| {
            let mut counts = app.status.iter().flat_map(|status| &status.services);
            (
                app,
                spec,
                counts
                    .find(|s| s.name == spec.name)
                    .cloned()
                    .unwrap_or_default(),
            )
        })
    })
}

pub(super) fn services(applications: &[Application]) -> String {
    let rows = each_service(applications).map(|(app, spec, status)| {
        let what = match spec.image.as_str() {
            "" => [spec.command.as_slice(), spec.args.as_slice()]
                .concat()
                .join(" "),
            image => image.to_owned(),
        };
        let resources = spec.resources.clone().unwrap_or_default();
        vec![
            app.namespace.clone(),
            app.name.clone(),
            spec.name.clone(),
            format!("{}/{}", status.running + status.completed, status.replicas),
            status.pending.to_string(),
            status.progressing.to_string(),
            status.failed.to_string(),
            dash(&resources.cpu),
            dash(&resources.memory),
            shorten(&what, 60),
        ]
    });
    listed(
        &[
            "NAMESPACE",
            "APP",
            "SERVICE",
            "RUNNING",
            "PENDING",
            "PROGRESSING",
            "FAILED",
            "CPU",
            "MEMORY",
            "RUNS",
        ],
        rows.collect(),
    )
}

pub(super) fn services_json(applications: &[Application]) -> Result<String, CliError> {
    let mut services = Vec::new();
    for (app, spec, status) in each_service(applications) {
        services.push(json!({
            "namespace": app.namespace,
            "application": app.name,
            "spec": json::value("edgeio.api.v1.ServiceSpec", spec)?,
            "status": json::value("edgeio.api.v1.ServiceStatus", &status)?,
        }));
    }
    Ok(json::pretty(&json!({ "services": services })))
}

pub(crate) fn instances(instances: &[Instance]) -> String {
    let rows = instances.iter().map(|instance| {
        let mut notes = Vec::new();
        if instance.retiring {
            notes.push("retiring".to_owned());
        }
        if !instance.reason.is_empty() {
            notes.push(instance.reason.clone());
        }
        vec![
            instance.namespace.clone(),
            observe::name(instance),
            instance_phase(instance.phase),
            reachable(instance),
            dash(&observe::place(instance)),
            instance.restarts.to_string(),
            age(instance.running_since.as_ref()),
            dash(&instance.id),
            shorten(&notes.join(", "), 60),
        ]
    });
    listed(
        &[
            "NAMESPACE",
            "NAME",
            "PHASE",
            "HEARD",
            "WHERE",
            "RESTARTS",
            "RUNNING",
            "ID",
            "REASON",
        ],
        rows.collect(),
    )
}

fn reachable(instance: &Instance) -> String {
    heard(instance.reachability())
}

fn heard(reachability: Reachability) -> String {
    match reachability {
        Reachability::Reachable => "yes",
        Reachability::Unreachable => "no",
        Reachability::Unspecified => "-",
    }
    .to_owned()
}

pub(super) fn held(held: &[Held]) -> String {
    let rows = held.iter().map(|held| {
        let place: Vec<&str> = [held.cluster.as_str(), held.worker.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        let mut why = held.why.clone();
        if !held.spec_known {
            why += "; its spec is not known here";
        }
        vec![
            held.namespace.clone(),
            observe::replica(&held.application, &held.service, held.ordinal),
            instance_phase(held.phase),
            heard(held.reachability()),
            dash(&place.join("/")),
            held.owner.clone(),
            age(held.since.as_ref()),
            held.id.clone(),
            why,
        ]
    });
    listed(
        &[
            "NAMESPACE",
            "NAME",
            "PHASE",
            "HEARD",
            "WHERE",
            "OWNER",
            "SINCE",
            "ID",
            "WHY",
        ],
        rows.collect(),
    )
}

/// Free and total CPU, free and total memory.
fn amounts(capacity: Option<&Capacity>) -> [String; 2] {
    let Some(capacity) = capacity else {
        return ["-".to_owned(), "-".to_owned()];
    };
    let free = capacity.free.unwrap_or_default();
    let total: Resources = capacity.allocatable.unwrap_or_default();
    [
        format!("{}/{}", cores(free.cpu_millis), cores(total.cpu_millis)),
        format!("{}/{}", bytes(free.memory_bytes), bytes(total.memory_bytes)),
    ]
}

/// A state, with how long the child is silent and whether what it runs is replaced.
pub(crate) fn silence(noun: &str, state: String, replacement: &str, silent_ms: u64) -> String {
    let mut text = state;
    if silent_ms > 0 {
        let _ = write!(text, " {}", short(Duration::from_millis(silent_ms)));
    }
    // Both tiers have the same words for it.
    let reason = match replacement {
        "REPLACEMENT_UNPROVEN" => {
            format!(", not replaced: no other {noun} was heard since; release it to replace")
        }
        "REPLACEMENT_LIMITED" => ", waits to be replaced".to_owned(),
        "REPLACEMENT_PROVEN" => ", replaced".to_owned(),
        "REPLACEMENT_RELEASED" => ", released to be replaced".to_owned(),
        "REPLACEMENT_FENCED" => ", fenced".to_owned(),
        _ => String::new(),
    };
    text + &reason
}

pub(super) fn clusters(clusters: &[Cluster]) -> String {
    let rows = clusters.iter().map(|cluster| {
        let [cpu, memory] = amounts(cluster.capacity.as_ref());
        vec![
            cluster.name.clone(),
            silence(
                "cluster",
                child_state(cluster.state),
                cluster.replacement().as_str_name(),
                cluster.silent_for_ms,
            ),
            age(cluster.last_heard.as_ref()),
            cluster
                .capacity
                .as_ref()
                .map_or("-".to_owned(), |c| c.workers.to_string()),
            cluster.assigned.to_string(),
            cpu,
            memory,
            dash(&cluster.address),
            dash(&cluster.version),
            cluster.id.clone(),
        ]
    });
    listed(
        &[
            "NAME",
            "STATE",
            "HEARD",
            "WORKERS",
            "ASSIGNED",
            "FREE CPU",
            "FREE MEMORY",
            "ADDRESS",
            "VERSION",
            "ID",
        ],
        rows.collect(),
    )
}

/// A worker's name, and the one that it asked for if another has that: `edgeio approve` gives it to it.
fn wishing(worker: &Worker) -> String {
    if worker.wished_name.is_empty() {
        return worker.name.clone();
    }
    format!("{} (asks for {})", worker.name, worker.wished_name)
}

pub(super) fn workers(workers: &[Worker]) -> String {
    let rows = workers.iter().map(|worker| {
        let [cpu, memory] = amounts(worker.capacity.as_ref());
        let inventory = worker.inventory.clone().unwrap_or_default();
        let runtimes: Vec<String> = inventory.runtimes.into_iter().map(|r| r.name).collect();
        vec![
            wishing(worker),
            silence(
                "worker",
                worker_state(worker.state),
                worker.replacement().as_str_name(),
                worker.silent_for_ms,
            ),
            age(worker.last_heard.as_ref()),
            worker.assigned.to_string(),
            dash(&inventory.architecture),
            cpu,
            memory,
            dash(&runtimes.join(",")),
            dash(&worker.version),
            worker.id.clone(),
        ]
    });
    listed(
        &[
            "NAME",
            "STATE",
            "HEARD",
            "ASSIGNED",
            "ARCH",
            "FREE CPU",
            "FREE MEMORY",
            "RUNTIMES",
            "VERSION",
            "ID",
        ],
        rows.collect(),
    )
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}
