//! Manifests that are well formed and mean nothing: the server refuses them with the paths of all that is wrong, the program exits with 2,
//! and nothing is stored.

use crate::dev::Dev;

/// A service's lines, and what the refusal must name.
const SERVICES: [(&str, &[&str]); 18] = [
    ("name: Web\nimage: a", &["services[0].name"]),
    ("name: web", &["services[0]"]),
    ("name: web\nimage: ':::'", &["services[0].image"]),
    (
        "name: web\nimage: a\nreplicas: 4000000",
        &["services[0].replicas", "10000"],
    ),
    (
        "name: web\nimage: a\nruntime: rocket!",
        &["services[0].runtime"],
    ),
    (
        "name: web\nimage: a\nresources: {cpu: many}",
        &["services[0].resources.cpu", "500m"],
    ),
    (
        "name: web\nimage: a\nresources: {memory: -1}",
        &["services[0].resources.memory"],
    ),
    (
        "name: web\nimage: a\nresources: {cpu: 1x, memory: 1y}",
        &["resources.cpu", "resources.memory"],
    ),
    (
        "name: web\nimage: a\nports: [{container: 0}]",
        &["services[0].ports[0].container"],
    ),
    (
        "name: web\nimage: a\nports: [{container: 80, host: 70000}]",
        &["services[0].ports[0].host"],
    ),
    (
        "name: web\nimage: a\nports: [{container: 80, protocol: sctp}]",
        &["services[0].ports[0].protocol"],
    ),
    (
        "name: web\ncommand: [a]\nports: [{container: 80}]",
        &["services[0].ports"],
    ),
    (
        "name: web\nimage: a\npull: sometimes",
        &["services[0].pull", "never"],
    ),
    (
        "name: web\nimage: a\nrestart: maybe",
        &["services[0].restart", "on-failure"],
    ),
    (
        "name: web\nimage: a\nstop_grace: soon",
        &["services[0].stop_grace"],
    ),
    ("name: web\nimage: a\nenv: {'A=B': c}", &["services[0].env"]),
    (
        "name: web\nimage: a\narchitectures: [AMD 64]",
        &["services[0].architectures[0]"],
    ),
    (
        "name: web\nruntime: docker\ncommand: [a]",
        &["services[0].image"],
    ),
];

fn manifest(service: &str) -> String {
    let lines = service
        .replace('\n', "\n      ")
        .replace("memory: -1", "memory: '-1'");
    format!("application:\n  name: wrong\n  services:\n    - {lines}\n")
}

#[test]
fn what_means_nothing_is_refused_with_its_paths_and_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&directory.path().join("data"), &[]);
    let mut documents: Vec<(String, &[&str])> = SERVICES
        .iter()
        .map(|(service, says)| (manifest(service), *says))
        .collect();
    documents.push((
        "application: {name: No_Name, services: [{name: a, image: a}]}".to_owned(),
        &["application.name"],
    ));
    documents.push((
        "application: {name: wrong}".to_owned(),
        &["application.services"],
    ));
    documents.push((
        "application: {name: wrong, services: [{name: a, image: a}, {name: a, image: a}]}"
            .to_owned(),
        &["application.services[1].name"],
    ));
    assert!(documents.len() >= 20);
    let file = directory.path().join("wrong.yaml");
    let mut faults = Vec::new();
    for (document, says) in documents {
        std::fs::write(&file, &document).unwrap();
        let output = dev.edgeio(&["apply", "-f", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let missing: Vec<&&str> = says.iter().filter(|part| !said.contains(**part)).collect();
        if output.status.code() != Some(2) || !missing.is_empty() {
            faults.push(format!(
                "{document}\n{}, lacks {missing:?}:\n{said}",
                output.status
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let stored = dev.ok(&["get", "apps", "-A", "-o", "json"]);
    assert_eq!(stored.trim(), "{}");
    dev.interrupt();
}
