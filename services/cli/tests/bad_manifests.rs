//! Twenty-odd wrong manifests through the door that a user has: exit code 2, the place, the path and the remedy, and not even a
//! connection to the server.
#![expect(clippy::unwrap_used, reason = "a broken set-up must fail the test")]

use std::{
    io::ErrorKind,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

struct Case {
    name: &'static str,
    text: Vec<u8>,
    /// What the error must say: the place first, then path and remedy.
    says: &'static [&'static str],
}

fn case(name: &'static str, text: impl Into<Vec<u8>>, says: &'static [&'static str]) -> Case {
    Case {
        name,
        text: text.into(),
        says,
    }
}

/// One service `web`, to which a line is added with the indentation of its fields.
fn with(line: &str) -> String {
    format!("application:\n  name: hello\n  services:\n    - name: web\n      {line}\n")
}

fn billion_laughs() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{below}]\n");
    }
    text
}

fn cases() -> Vec<Case> {
    vec![
        case(
            "empty-file",
            "",
            &["no document in it", "begins with `application:`"],
        ),
        case(
            "only-comments",
            "# nothing\n---\n# here\n",
            &["no document in it"],
        ),
        case(
            "broken-yaml",
            "application:\n  name: [hello\n  services: {}\n",
            &[":3:", "not YAML", "check quotes"],
        ),
        case(
            "tabs",
            "application:\n\tname: hello\n",
            &[":2:2:", "indent with spaces"],
        ),
        case(
            "broken-json",
            "{\"application\": {\"name\": \"hello\",}",
            &["not YAML", "check quotes"],
        ),
        case(
            "not-a-mapping",
            "- application\n",
            &[":1:1:", "must be a mapping, found a list", "application"],
        ),
        case(
            "no-application",
            "{}\n",
            &["application: missing", "write `application:`"],
        ),
        case(
            "null-application",
            "application:\n",
            &["application: missing"],
        ),
        case(
            "forgot-application",
            "name: hello\nservices: []\n",
            &[
                ":1:1: name: unknown field",
                "`application.name`",
                ":2:1:",
                "`application.services`",
            ],
        ),
        case(
            "unknown-field",
            with("replcas: 3"),
            &[
                ":5:7: application.services[0].replcas: unknown field",
                "did you mean `replicas`?",
            ],
        ),
        case(
            "unknown-without-likeness",
            with("zone: eu"),
            &[
                "application.services[0].zone",
                "the fields here are name, replicas",
            ],
        ),
        case(
            "field-one-level-up",
            with("cpu: 500m"),
            &["application.services[0].cpu", "`resources.cpu`"],
        ),
        case(
            "second-service",
            with("image: a\n    - name: db\n      image: 5"),
            &[
                ":7:14: application.services[1].image: must be text",
                "put it in quotes: \"5\"",
            ],
        ),
        case(
            "text-for-number",
            with("replicas: three"),
            &[
                "application.services[0].replicas: must be a whole number, found the text \"three\"",
                "0 to 4294967295",
            ],
        ),
        case(
            "negative",
            with("replicas: -1"),
            &[
                "application.services[0].replicas: -1 is out of range",
                "0 to 4294967295",
            ],
        ),
        case(
            "fraction",
            with("replicas: 1.5"),
            &["application.services[0].replicas: must be a whole number, found 1.5"],
        ),
        case(
            "too-large",
            with("replicas: 99999999999999999999999999"),
            &["application.services[0].replicas", "out of range"],
        ),
        case(
            "text-for-list",
            with("command: sleep"),
            &[
                "application.services[0].command: must be a list, found text",
                "write [\"sleep\"]",
            ],
        ),
        case(
            "number-in-list",
            with("command: [sleep, 3600]"),
            &[
                "application.services[0].command[1]: must be text, found a number",
                "\"3600\"",
            ],
        ),
        case(
            "number-in-map",
            with("env: {PORT: 80}"),
            &[
                "application.services[0].env[\"PORT\"]: must be text",
                "\"80\"",
            ],
        ),
        case(
            "list-for-map",
            with("env: [A=1]"),
            &[
                "application.services[0].env: must be a mapping, found a list",
                "NAME: value",
            ],
        ),
        case(
            "mapping-for-list",
            "application:\n  services:\n    name: web\n",
            &[
                "application.services: must be a list, found a mapping",
                "begin each element with",
            ],
        ),
        case(
            "text-for-flag",
            "application: {name: hello}\nvalidate_only: maybe\n",
            &[":2:16: validate_only: must be true or false"],
        ),
        case(
            "same-key-twice",
            with("name: db"),
            &[":5:7: `name` is already set on line 4", "keep one"],
        ),
        case(
            "two-spellings",
            with("stop_grace: 1s\n      stopGrace: 2s"),
            &[":6:7: application.services[0].stop_grace: is already set on line 5"],
        ),
        case(
            "alias-bomb",
            billion_laughs(),
            &[
                "aliases",
                "more than 10000 values",
                "write the repeated parts out",
            ],
        ),
        case(
            "alias-to-nothing",
            with("image: *base"),
            &["unknown anchor", "`&name`"],
        ),
        case(
            "merge-key",
            with("<<: {image: a}"),
            &["application.services[0].<<", "merge keys are not part"],
        ),
        case(
            "tag",
            with("image: !env HOME"),
            &[":5:", "a tag", "remove it"],
        ),
        case("too-deep", "[".repeat(1000), &["deep", "brackets too many"]),
        case(
            "deep-blocks",
            "- ".repeat(1000),
            &["nested more than 32 deep"],
        ),
        case(
            "too-big",
            vec![b'#'; 1024 * 1024 + 1],
            &["more than 1024 KiB", "split"],
        ),
        case(
            "not-text",
            b"application:\n  name: \xff\xfe\n".to_vec(),
            &[":2: not UTF-8"],
        ),
        case(
            "second-document",
            format!(
                "{}---\n{}",
                with("image: a"),
                with("imag: b").replace("hello", "other")
            ),
            &[
                ":11:7: document 2: application.services[0].imag",
                "did you mean `image`?",
            ],
        ),
        case(
            "same-application-twice",
            format!("{}---\n{}", with("image: a"), with("image: b")),
            &[
                "application `hello` is already in the document at line 1",
                "join the two",
            ],
        ),
        case("escape-in-key", "\"\\e[2Jx\": 1\n", &["unknown field"]),
    ]
}

fn apply(server: &str, file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeio"));
    command.args(["apply", "--server", server, "-f"]).arg(file);
    command.output().unwrap()
}

#[test]
fn wrong_manifests_are_refused_before_anything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let cases = cases();
    assert!(cases.len() >= 20);
    let mut wrong = Vec::new();
    for case in cases {
        let file = directory.path().join(format!("{}.yaml", case.name));
        std::fs::write(&file, &case.text).unwrap();
        let output = apply(&server, &file);
        let said = String::from_utf8(output.stderr).unwrap();
        let mut missing: Vec<&str> = case
            .says
            .iter()
            .copied()
            .filter(|part| !said.contains(part))
            .collect();
        if !said.contains(&*format!("{}.yaml", case.name)) {
            missing.push("the file's name");
        }
        if !said.contains("nothing was sent to the server") {
            missing.push("that nothing was sent");
        }
        if said.contains('\u{1b}') || said.len() > 4096 {
            missing.push("restraint");
        }
        if output.status.code() != Some(2) || !output.stdout.is_empty() || !missing.is_empty() {
            wrong.push(format!(
                "{}: {}, lacks {missing:?}:\n{said}",
                case.name, output.status
            ));
        }
        match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("{}: a connection was made: {other:?}", case.name),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let output = apply("127.0.0.1:1", Path::new("/nonexistent/hello.yaml"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("read manifest `/nonexistent/hello.yaml`"),
        "{said}"
    );
}
