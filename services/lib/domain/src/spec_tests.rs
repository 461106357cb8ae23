//! Tests of the service spec: a table of faults with their paths, and that good specs keep their words.

use super::*;

fn native() -> ServiceDraft {
    ServiceDraft {
        name: "web".into(),
        command: vec!["/bin/true".into()],
        ..Default::default()
    }
}

fn container() -> ServiceDraft {
    ServiceDraft {
        name: "web".into(),
        image: "busybox:1".into(),
        ..Default::default()
    }
}

fn faults(draft: &ServiceDraft) -> Vec<String> {
    let mut faults = Violations::default();
    let spec = ServiceSpec::check(draft, "s", &mut faults);
    let paths: Vec<String> = faults.into_vec().into_iter().map(|v| v.path).collect();
    assert_eq!(spec.is_none(), !paths.is_empty());
    paths
}

#[test]
fn defaults_are_those_of_the_reference() {
    let mut faults = Violations::default();
    let spec = ServiceSpec::check(&container(), "s", &mut faults).unwrap();
    assert_eq!(spec.runtime, "", "whichever the worker has");
    assert_eq!(
        (spec.pull, spec.restart),
        (PullPolicy::IfAbsent, RestartPolicy::Always)
    );
    assert_eq!(spec.stop_grace, Duration::from_secs(10));
    assert_eq!(
        ServiceSpec::check(&native(), "s", &mut faults)
            .unwrap()
            .runtime,
        "process"
    );
}

#[test]
fn every_fault_names_its_field() {
    type Change = fn(&mut ServiceDraft);
    let table: [(&str, ServiceDraft, Change); 24] = [
        ("s.name", native(), |d| d.name = "Web".into()),
        ("s.replicas", native(), |d| d.replicas = Some(10_001)),
        ("s.resources.cpu", native(), |d| d.cpu = "half".into()),
        ("s.resources.memory", native(), |d| d.memory = "64mb".into()),
        ("s.image", native(), |d| d.runtime = "docker".into()),
        ("s.command", native(), |d| d.command.clear()),
        ("s.image", container(), |d| d.runtime = "process".into()),
        ("s.image", container(), |d| d.image = "Bad Image".into()),
        ("s.command[0]", native(), |d| {
            d.command = vec![String::new()]
        }),
        ("s.env", native(), |d| {
            drop(d.env.insert("A=B".into(), "1".into()))
        }),
        ("s", native(), |d| d.args.push("a\0b".into())),
        ("s.architectures[0]", native(), |d| {
            d.architectures.push("AMD 64".into())
        }),
        ("s.ports", native(), |d| {
            d.ports.push((80, 8080, String::new()))
        }),
        ("s.ports[0].container", container(), |d| {
            d.ports.push((0, 8080, String::new()))
        }),
        ("s.ports[0].host", container(), |d| {
            d.ports.push((80, 70_000, String::new()))
        }),
        ("s.ports[0].protocol", container(), |d| {
            d.ports.push((80, 0, "sctp".into()))
        }),
        ("s.pull", container(), |d| d.pull = "sometimes".into()),
        ("s.restart", native(), |d| d.restart = "yes".into()),
        ("s.stop_grace", native(), |d| d.stop_grace = "2 days".into()),
        ("s.stop_signal", native(), |d| {
            d.stop_signal = "SIGNOPE".into()
        }),
        ("s.working_dir", native(), |d| d.working_dir = "srv".into()),
        ("s.user", native(), |d| d.user = "www data".into()),
        ("s.user", container(), |d| d.user = "1000:".into()),
        ("s.ports", container(), |d| {
            d.sandbox.host_network = true;
            d.ports.push((80, 0, String::new()));
        }),
    ];
    for (path, mut draft, change) in table {
        change(&mut draft);
        assert_eq!(faults(&draft), [path], "{draft:?}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let draft = ServiceDraft {
        name: String::new(),
        cpu: "x".into(),
        pull: "x".into(),
        ..Default::default()
    };
    assert_eq!(
        faults(&draft),
        ["s.name", "s.resources.cpu", "s.command", "s.pull"]
    );
}

#[test]
fn one_port_is_not_published_twice() {
    let mut draft = container();
    draft.ports = vec![
        (80, 8080, "tcp".into()),
        (81, 8080, String::new()),
        (80, 8080, "udp".into()),
    ];
    assert_eq!(faults(&draft), ["s.ports[1].container"]);
}
