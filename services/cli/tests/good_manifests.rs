//! What a manifest may look like, and that reading never fails in another way than by an error.
#![expect(clippy::panic, reason = "a broken set-up must fail the test")]

use edgeio_cli::manifest::{self, Document};
use edgeio_proto::api::v1::{ApplyRequest, PortSpec};
use proptest::prelude::*;

fn read(text: &str) -> Vec<Document> {
    manifest::parse("test.yaml", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn one(text: &str) -> ApplyRequest {
    read(text).remove(0).request
}

const YAML: &str = r#"
application:
  name: hello
  namespace: shop
  services:
    - name: web
      replicas: 2
      image: "registry:5000/web:1.2"
      command: [/bin/sh, -c]
      args:
        - |
          echo one
          echo two
      env: {GREETING: hello, EMPTY: ""}
      resources: {cpu: 500m, memory: 64Mi}
      ports: [{container: 80, host: 8080, protocol: tcp}]
      stop_grace: 10s
request_id: mine
"#;

#[test]
fn yaml_json_and_both_spellings_are_one() {
    let yaml = one(YAML);
    let json = one(
        r#"{"application": {"name": "hello", "namespace": "shop", "services": [{
            "name": "web", "replicas": 2, "image": "registry:5000/web:1.2",
            "command": ["/bin/sh", "-c"], "args": ["echo one\necho two\n"],
            "env": {"GREETING": "hello", "EMPTY": ""},
            "resources": {"cpu": "500m", "memory": "64Mi"},
            "ports": [{"container": 80, "host": 8080, "protocol": "tcp"}],
            "stopGrace": "10s"}]}, "requestId": "mine"}"#,
    );
    assert_eq!(yaml, json);
    let service = &yaml.application.unwrap().services[0];
    assert_eq!(service.replicas, Some(2));
    assert_eq!(
        service.ports,
        [PortSpec {
            container: 80,
            host: 8080,
            protocol: "tcp".into()
        }]
    );
}

#[test]
fn json_may_be_indented_with_tabs_and_begin_with_a_mark() {
    let request = one("\u{feff}{\n\t\"application\": {\n\t\t\"name\": \"hello\"\n\t}\n}\n");
    assert_eq!(request.application.unwrap().name, "hello");
}

#[test]
fn absent_null_and_zero_replicas_differ() {
    let replicas = |line: &str| {
        let text = format!("application: {{name: a, services: [{{name: web{line}}}]}}");
        one(&text).application.unwrap().services[0].replicas
    };
    assert_eq!(replicas(""), None);
    assert_eq!(replicas(", replicas: null"), None);
    assert_eq!(replicas(", replicas: 0"), Some(0));
    assert_eq!(
        replicas(", replicas: \"3\""),
        Some(3),
        "protobuf JSON takes numbers in quotes"
    );
    assert_eq!(replicas(", replicas: 3.0"), Some(3));
}

#[test]
fn documents_are_separate_and_empty_ones_are_skipped() {
    let text = "---\n# first\napplication: {name: a}\n---\n---\napplication: {name: b}\n...\n";
    let documents = read(text);
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1].line, 6);
    let other_namespace = "application: {name: a}\n---\napplication: {name: a, namespace: x}\n";
    assert_eq!(read(other_namespace).len(), 2);
}

#[test]
fn anchors_work_in_moderation() {
    let request = one(
        "application:\n  name: a\n  services:\n  - {name: x, env: &env {A: \"1\"}}\n  - {name: y, env: *env}\n",
    );
    let services = request.application.unwrap().services;
    assert_eq!(services[0].env, services[1].env);
}

#[test]
fn numbers_and_flags_are_names_of_variables_too() {
    let request = one("application: {name: a, services: [{name: x, env: {1: a, true: b}}]}");
    let services = request.application.unwrap().services;
    assert_eq!(services[0].env.len(), 2);
}

#[test]
fn the_examples_are_manifests() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let documents = manifest::load(path.to_str().unwrap());
            assert!(
                documents.is_ok(),
                "{}: {}",
                path.display(),
                documents.unwrap_err()
            );
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Pieces that a manifest is made of, in any order: errors are allowed, panics and endless loops are not.
    #[test]
    fn any_text_is_answered(pieces in prop::collection::vec(
        prop_oneof![
            Just("application:"), Just("\n"), Just("  "), Just("- "), Just("services:"), Just("name: "), Just("&a "),
            Just("*a"), Just("["), Just("]"), Just("{"), Just("}"), Just(", "), Just("\""), Just("'"), Just("---\n"),
            Just("...\n"), Just("? "), Just(": "), Just("|\n"), Just("\t"), Just("#"), Just("!!str "), Just("1e9"),
            Just("env:"), Just("replicas: 1"), Just("\u{feff}"), Just("%YAML 1.2\n"), Just("é"), Just("\0"),
        ], 0..60))
    {
        let text = pieces.concat();
        if let Err(error) = manifest::parse("t", text.as_bytes()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = manifest::parse("t", &bytes);
    }
}
