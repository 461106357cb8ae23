//! The commands as a user runs them, against a server with canned answers: what is shown, what is asked, and the exit codes.
#![expect(clippy::unwrap_used, reason = "a broken set-up must fail the test")]

mod server;

use edgeio_proto::{
    api::v1::{watch_response::Change, *},
    root::v1::Cluster,
};
use serde_json::Value;
use server::{Canned, Server};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

const MANIFEST: &str = "application: {name: hello, services: [{name: web, image: a}]}";

fn application(phase: ApplicationPhase, running: u32) -> Application {
    Application {
        namespace: "default".into(),
        name: "hello".into(),
        uid: "u".into(),
        owner: "root".into(),
        version: 1,
        spec: Some(ApplicationSpec {
            name: "hello".into(),
            services: vec![ServiceSpec {
                name: "web".into(),
                image: "a".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        status: Some(ApplicationStatus {
            phase: phase.into(),
            services: vec![ServiceStatus {
                name: "web".into(),
                replicas: 2,
                running,
                ..Default::default()
            }],
            waiting_for: Vec::new(),
        }),
        ..Default::default()
    }
}

fn instance(ordinal: u32, id: &str, phase: InstancePhase) -> Instance {
    Instance {
        id: id.into(),
        slot_id: format!("slot-{ordinal}"),
        namespace: "default".into(),
        application: "hello".into(),
        service: "web".into(),
        ordinal,
        cluster: "a".into(),
        worker: "w1".into(),
        phase: phase.into(),
        ..Default::default()
    }
}

fn told(change: Change) -> WatchResponse {
    WatchResponse {
        token: "t".into(),
        change: Some(change),
    }
}

fn canned() -> Canned {
    Canned {
        applications: vec![
            application(ApplicationPhase::Progressing, 1),
            Application {
                name: "other".into(),
                ..application(ApplicationPhase::Ready, 2)
            },
        ],
        instances: vec![
            instance(0, "0199-aa", InstancePhase::Running),
            Instance {
                reason: "Exited".into(),
                message: "evil \u{1b}]0;title\u{7}\u{1b}[2Jtext".into(),
                exit_code: Some(3),
                output_tail: b"last \x1b[31mwords\n".to_vec(),
                ..instance(1, "0199-ab", InstancePhase::Failed)
            },
        ],
        ..Canned::default()
    }
}

#[tokio::test]
async fn apply_says_what_follows_and_repeats_with_one_request_id() {
    let server = Server::start(Canned {
        away: 1.into(),
        ..canned()
    })
    .await;
    let ran = server.edgeio(&["apply", "-f", "-"], MANIFEST).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.out,
        "application default/hello: unchanged (version 1)\n"
    );
    let asked = server.canned.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[0], asked[1], "the repetition has another request id");
    assert!(
        asked[0].split(' ').nth(1).is_some_and(|id| id.len() == 36),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_with_reasons() {
    let server = Server::start(canned()).await;
    let ran = server
        .edgeio(&["apply", "-f", "-", "--dry-run"], MANIFEST)
        .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("valid, nothing changed"), "{ran:?}");
    assert!(ran.out.contains("Create  web      0        a\n"), "{ran:?}");
    assert!(
        ran.out.contains("nowhere now: cluster a: no CPU\n"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn what_the_server_finds_invalid_is_shown_with_its_paths() {
    let mut details = ErrorDetails::new();
    let path = "application.services[0].resources.cpu";
    details.set_bad_request(vec![FieldViolation::new(path, "`many` is no amount")]);
    let refusal = Some(Status::with_error_details(
        Code::InvalidArgument,
        "invalid",
        details,
    ));
    let server = Server::start(Canned {
        refusal,
        ..canned()
    })
    .await;
    let ran = server.edgeio(&["apply", "-f", "-"], MANIFEST).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("apply `default/hello`"), "{ran:?}");
    assert!(
        ran.err.contains(&format!("{path}: `many` is no amount")),
        "{ran:?}"
    );
}

#[tokio::test]
async fn wait_follows_each_instance_until_ready() {
    let server = Server::start(Canned {
        watch: vec![
            told(Change::Application(application(
                ApplicationPhase::Progressing,
                1,
            ))),
            told(Change::Instance(instance(0, "a", InstancePhase::Running))),
            told(Change::Instance(instance(1, "b", InstancePhase::Preparing))),
            told(Change::Bookmark(Bookmark {})),
            told(Change::Instance(instance(1, "b", InstancePhase::Running))),
            told(Change::Application(application(ApplicationPhase::Ready, 2))),
        ],
        ..canned()
    })
    .await;
    let ran = server
        .edgeio(&["apply", "-f", "-", "--wait", "-o", "json"], MANIFEST)
        .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.err,
        "hello/web/0  Running    on a/w1\nhello/web/1  Preparing  on a/w1\nhello/web/1  Running    on a/w1\n\
         application default/hello: ready\n"
    );
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["application"]["uid"], "u");
}

#[tokio::test]
async fn wait_ends_with_the_reason_when_an_instance_has_failed() {
    let failed = Instance {
        reason: "ImagePull".into(),
        message: "no such image".into(),
        ..instance(0, "a", InstancePhase::Failed)
    };
    let server = Server::start(Canned {
        watch: vec![
            told(Change::Application(application(
                ApplicationPhase::Degraded,
                0,
            ))),
            told(Change::Instance(failed)),
            told(Change::Bookmark(Bookmark {})),
        ],
        ..canned()
    })
    .await;
    let ran = server
        .edgeio(&["apply", "-f", "-", "--wait"], MANIFEST)
        .await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err
            .contains("hello/web/0 failed: ImagePull; no such image"),
        "{ran:?}"
    );
    assert!(
        ran.err.contains("edgeio describe app hello -n default"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn wait_ends_with_the_timeout_and_tells_what_is_missing() {
    let server = Server::start(Canned {
        watch: vec![
            told(Change::Application(application(
                ApplicationPhase::Progressing,
                1,
            ))),
            told(Change::Instance(instance(1, "b", InstancePhase::Preparing))),
            told(Change::Bookmark(Bookmark {})),
        ],
        ..canned()
    })
    .await;
    let arguments = [
        "scale",
        "hello",
        "--replicas",
        "2",
        "--wait",
        "--timeout",
        "300ms",
    ];
    let ran = server.edgeio(&arguments, "").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err
            .contains("not ready after 300ms; it goes on by itself"),
        "{ran:?}"
    );
    assert!(ran.err.contains("hello/web/1 is Preparing"), "{ran:?}");
}

#[tokio::test]
async fn lists_have_all_pages() {
    let server = Server::start(canned()).await;
    let table = server.edgeio(&["get", "apps"], "").await;
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.out.contains("hello  Progressing  1/2"), "{table:?}");
    assert!(table.out.contains("other  Ready        2/2"), "{table:?}");
    let ran = server.edgeio(&["get", "apps", "-o", "json"], "").await;
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        json["applications"][1]["status"]["phase"],
        "APPLICATION_PHASE_READY"
    );
    assert_eq!(json["applications"].as_array().unwrap().len(), 2);

    let ran = server.edgeio(&["get", "services", "-o", "json"], "").await;
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["services"][0]["spec"]["image"], "a");
    assert_eq!(json["services"][0]["status"]["running"], 1);
}

#[tokio::test]
async fn describe_finds_by_name_and_prefix_and_shows_nothing_that_steers_a_terminal() {
    let server = Server::start(canned()).await;
    for wanted in ["hello/web/1", "0199-ab", "slot-1"] {
        let ran = server.edgeio(&["describe", "instance", wanted], "").await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.contains("Exit code     3\n"), "{ran:?}");
        assert!(ran.out.contains("Exited: evil text\n"), "{ran:?}");
        assert!(ran.out.contains("| last words\n"), "{ran:?}");
        assert!(
            !ran.out.contains('\u{1b}') && !ran.out.contains('\u{7}'),
            "{ran:?}"
        );
    }
    let ran = server.edgeio(&["describe", "instance", "0199"], "").await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.err.contains("0199-aa  hello/web/0") && ran.err.contains("write more"),
        "{ran:?}"
    );
    let ran = server
        .edgeio(&["describe", "instance", "hello/web"], "")
        .await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = server.edgeio(&["describe", "instance", "ffff"], "").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");

    let ran = server.edgeio(&["describe", "app", "hello"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out
            .contains("hello/web/1 is Failed\n  Exited: evil text\n"),
        "{ran:?}"
    );
    let ran = server
        .edgeio(&["describe", "app", "hello", "-o", "json"], "")
        .await;
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["instances"][1]["exitCode"], 3);
    assert!(!ran.out.contains('\u{1b}'), "{ran:?}");
}

#[tokio::test]
async fn an_unknown_application_is_a_failure_and_not_an_empty_list() {
    let server = Server::start(canned()).await;
    for arguments in [["get", "instances", "nope"], ["describe", "app", "nope"]] {
        let ran = server.edgeio(&arguments, "").await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("no application `nope`"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_root_says_which_cluster_to_ask_for_workers() {
    let clusters = vec![Cluster {
        name: "site-7".into(),
        address: "192.0.2.7:10100".into(),
        ..Default::default()
    }];
    let server = Server::start(Canned {
        clusters,
        ..canned()
    })
    .await;
    let ran = server.edgeio(&["get", "workers"], "").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err
            .contains("edgeio get workers --server 192.0.2.7:10100"),
        "{ran:?}"
    );
    assert!(ran.err.contains("site-7"), "{ran:?}");
    let ran = server
        .edgeio(&["forget", "worker", "w1", "--yes"], "")
        .await;
    assert!(
        ran.err
            .contains("edgeio forget worker w1 --server 192.0.2.7:10100"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn mutations_say_what_they_did() {
    let server = Server::start(canned()).await;
    let ran = server
        .edgeio(&["scale", "hello/web", "--replicas", "5"], "")
        .await;
    assert_eq!(
        ran.out, "application default/hello/web: 5 replicas wanted (version 1)\n",
        "{ran:?}"
    );
    let ran = server.edgeio(&["delete", "hello", "--force"], "").await;
    assert_eq!(
        ran.code,
        Some(0),
        "without a terminal nothing is asked: {ran:?}"
    );
    assert!(
        ran.out.contains("abandoned: hello/web/1 0199-ab on a/w1"),
        "{ran:?}"
    );
    let ran = server.edgeio(&["forget", "cluster", "site-7"], "").await;
    assert_eq!(
        ran.out, "cluster site-7: forgotten; 2 instances to place elsewhere\n",
        "{ran:?}"
    );
    let ran = server.edgeio(&["release", "cluster", "site-7"], "").await;
    assert!(ran.out.starts_with("cluster site-7: released; "), "{ran:?}");
    let ran = server.edgeio(&["fence", "cluster", "site-7"], "").await;
    assert!(
        ran.out
            .starts_with("cluster site-7: fenced; 3 instances to replace"),
        "{ran:?}"
    );
    let asked = server.canned.asked.lock().unwrap().clone();
    assert!(asked[0].ends_with(" hello web 5"), "{asked:?}");
    assert!(asked[1].ends_with(" hello true"), "{asked:?}");
    assert!(asked[2].ends_with(" site-7 false"), "{asked:?}");
    let ran = server
        .edgeio(&["scale", "hello/web/0", "--replicas", "5"], "")
        .await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[tokio::test]
async fn delete_waits_until_the_application_is_gone() {
    let gone = ApplicationGone {
        namespace: "default".into(),
        name: "hello".into(),
        uid: "u".into(),
    };
    let server = Server::start(Canned {
        watch: vec![
            told(Change::Application(application(
                ApplicationPhase::Deleting,
                1,
            ))),
            told(Change::Instance(instance(0, "a", InstancePhase::Stopping))),
            told(Change::Bookmark(Bookmark {})),
            told(Change::ApplicationGone(gone)),
        ],
        ..canned()
    })
    .await;
    let ran = server.edgeio(&["delete", "hello", "--wait"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("hello/web/0  Stopping"), "{ran:?}");
    assert!(
        ran.err.ends_with("application default/hello: gone\n"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn on_a_terminal_it_asks_before_it_destroys() {
    let server = Server::start(canned()).await;
    let ran = server.edgeio_on_terminal("delete hello", "n\n").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let question = "Delete application default/hello and its 2 instances? [y/N]";
    assert!(
        ran.out.contains(question) && ran.out.contains("not deleted"),
        "{ran:?}"
    );
    assert_eq!(server.canned.asked.lock().unwrap().len(), 0);

    let ran = server.edgeio_on_terminal("delete hello", "y\n").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = server
        .edgeio_on_terminal("forget cluster site-7 --yes", "")
        .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(server.canned.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn on_a_terminal_progress_is_redrawn_in_place() {
    let server = Server::start(Canned {
        watch: vec![
            told(Change::Application(application(
                ApplicationPhase::Progressing,
                1,
            ))),
            told(Change::Instance(instance(0, "a", InstancePhase::Running))),
            told(Change::Instance(instance(1, "b", InstancePhase::Preparing))),
            told(Change::Bookmark(Bookmark {})),
            told(Change::Instance(instance(1, "b", InstancePhase::Running))),
            told(Change::Application(application(ApplicationPhase::Ready, 2))),
        ],
        ..canned()
    })
    .await;
    let ran = server
        .edgeio_on_terminal("scale hello --replicas 2 --wait", "")
        .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out.contains("\u{1b}[2A\u{1b}[Jhello/web/0  Running"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_has_an_exit_code_of_its_own() {
    let server = Server::start(canned()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap().to_string();
    drop(listener);
    let ran = server
        .edgeio(&["get", "apps", "--server", &nobody], "")
        .await;
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(
        ran.err.contains(&nobody) && ran.err.contains("--server HOST:PORT"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn every_command_explains_itself_with_an_example() {
    let server = Server::start(canned()).await;
    for command in [
        vec!["apply"],
        vec!["get"],
        vec!["describe", "app"],
        vec!["describe", "instance"],
        vec!["describe", "worker"],
        vec!["describe", "cluster"],
        vec!["scale"],
        vec!["delete"],
        vec!["release", "cluster"],
        vec!["fence", "worker"],
        vec!["forget", "worker"],
        vec!["forget", "cluster"],
        vec!["hold", "accept"],
        vec!["hold", "adopt"],
        vec!["watch"],
        vec!["completion"],
    ] {
        let ran = server.edgeio(&[&*command, &["--help"]].concat(), "").await;
        let example = format!("  edgeio {}", command.join(" "));
        assert!(
            ran.out.contains("Examples:") && ran.out.contains(&example),
            "{command:?} {ran:?}"
        );
        assert!(ran.out.contains("EDGEIO_SERVER"), "{command:?} {ran:?}");
    }
    let ran = server.edgeio(&["aply"], "").await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("'apply'"), "{ran:?}");
}

fn held(id: &str, application: &str, kind: HeldKind) -> Held {
    Held {
        id: id.into(),
        kind: kind.into(),
        namespace: "default".into(),
        application: application.into(),
        service: "web".into(),
        cluster: "a".into(),
        phase: InstancePhase::Running.into(),
        owner: "root".into(),
        why: "nobody asks \u{1b}[31mfor it".into(),
        ..Default::default()
    }
}

fn holding() -> Canned {
    Canned {
        held: vec![
            held("0199-aa", "hello", HeldKind::Hold),
            held("0199-ab", "hello", HeldKind::Orphan),
            held("0299-cc", "other", HeldKind::Hold),
        ],
        ..canned()
    }
}

#[tokio::test]
async fn what_is_held_is_listed_by_kind() {
    let server = Server::start(holding()).await;
    let ran = server.edgeio(&["get", "holds"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out.contains("hello/web/0") && ran.out.contains("0299-cc"),
        "{ran:?}"
    );
    assert!(
        !ran.out.contains("0199-ab") && !ran.out.contains('\u{1b}'),
        "{ran:?}"
    );
    let ran = server.edgeio(&["get", "orphans", "-o", "json"], "").await;
    let listed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(listed["held"][0]["id"], "0199-ab", "{listed}");
    assert_eq!(listed["held"].as_array().map(Vec::len), Some(1));
    let ran = server.edgeio(&["get", "holds", "nothing"], "").await;
    assert!(ran.err.contains("nothing found"), "{ran:?}");
}

#[tokio::test]
async fn an_application_says_what_is_held_under_its_name() {
    let mut canned = canned();
    canned.instances[0].reason = "Held".into();
    let server = Server::start(canned).await;
    let ran = server.edgeio(&["describe", "app", "hello"], "").await;
    assert!(
        ran.out.contains("1 instance is held under this name"),
        "{ran:?}"
    );
    assert!(ran.out.contains("edgeio get holds"), "{ran:?}");
}

#[tokio::test]
async fn a_decision_is_sent_for_each_that_is_named() {
    let server = Server::start(holding()).await;
    let ran = server.edgeio(&["hold", "adopt", "0199-aa", "02"], "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("hello/web/0 0199-aa: adopted"), "{ran:?}");
    let ran = server
        .edgeio(
            &["hold", "accept", "--all", "--application", "hello", "--yes"],
            "",
        )
        .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let asked = server.canned.asked.lock().unwrap().clone();
    let words: Vec<(&str, &str)> = asked
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[2], words[3])
        })
        .collect();
    let (accept, adopt) = ("HELD_DECISION_ACCEPT", "HELD_DECISION_ADOPT");
    assert_eq!(
        words,
        [
            ("0199-aa", adopt),
            ("0299-cc", adopt),
            ("0199-aa", accept),
            ("0199-ab", accept)
        ]
    );
}

#[tokio::test]
async fn nothing_is_stopped_by_a_slip() {
    let server = Server::start(holding()).await;
    let ran = server.edgeio_on_terminal("hold accept 0299", "n\n").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("other/web/0"), "{ran:?}");
    for (arguments, code) in [
        (&["hold", "accept", "0199"][..], 2),
        (&["hold", "accept", "0399"], 1),
        (&["hold", "accept"], 2),
        (&["hold", "accept", "--all"], 2),
        (&["hold", "accept", "--all", "--application", "none"], 1),
    ] {
        let ran = server.edgeio(arguments, "").await;
        assert_eq!(ran.code, Some(code), "{arguments:?} {ran:?}");
    }
    assert_eq!(*server.canned.asked.lock().unwrap(), Vec::<String>::new());
}
