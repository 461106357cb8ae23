//! One application or instance in full, for people.

use edgeio_proto::api::v1::{Application, Instance, InstancePhase, Reachability, ServiceSpec};

use crate::{
    commands::get::tables,
    observe,
    output::{
        table::{pairs, table},
        text::{application_phase, clean, clean_lines, dash, instance_phase, instant},
    },
};

pub(super) fn application(application: &Application, instances: &[Instance]) -> String {
    let status = application.status.clone().unwrap_or_default();
    let mut text = pairs(&[
        (
            "Application",
            format!("{}/{}", application.namespace, application.name),
        ),
        ("Phase", application_phase(status.phase)),
        ("Waits for", status.waiting_for.join(", ")),
        ("Owner", application.owner.clone()),
        ("Version", application.version.to_string()),
        ("Created", instant(application.created_at.as_ref())),
        ("Uid", application.uid.clone()),
    ]);
    text += "\nServices\n";
    let services = application.spec.iter().flat_map(|spec| &spec.services);
    let rows: Vec<Vec<String>> = services
        .map(|spec| {
            let counts = status.services.iter().find(|s| s.name == spec.name);
            let counts = counts.cloned().unwrap_or_default();
            vec![
                spec.name.clone(),
                format!("{}/{}", counts.running, counts.replicas),
                counts.completed.to_string(),
                counts.pending.to_string(),
                counts.progressing.to_string(),
                counts.failed.to_string(),
                dash(&runs(spec)),
            ]
        })
        .collect();
    text += &table(
        &[
            "NAME",
            "RUNNING",
            "COMPLETED",
            "PENDING",
            "PROGRESSING",
            "FAILED",
            "RUNS",
        ],
        &rows,
    );
    if instances.is_empty() {
        return text;
    }
    text += "\nInstances\n";
    text += &tables::instances(instances);
    let held = instances.iter().filter(|i| i.reason == "Held").count();
    if held > 0 {
        text += &format!(
            "\n{} held under this name, since nobody asks for {}: see `edgeio get holds`, `edgeio get orphans` and `edgeio hold --help`\n",
            if held == 1 {
                "1 instance is".to_owned()
            } else {
                format!("{held} instances are")
            },
            if held == 1 { "it" } else { "them" },
        );
    }
    let settled = [
        InstancePhase::Running,
        InstancePhase::Completed,
        InstancePhase::Stopped,
    ];
    for instance in instances.iter().filter(|i| !settled.contains(&i.phase())) {
        let name = clean(&observe::name(instance));
        text += &format!(
            "\n{name} is {}\n{}",
            instance_phase(instance.phase),
            reasons(instance)
        );
    }
    text
}

fn runs(spec: &ServiceSpec) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !spec.image.is_empty() {
        parts.push(spec.image.clone());
    }
    parts.extend(
        spec.command
            .iter()
            .chain(&spec.args)
            .map(|word| quoted(word)),
    );
    parts.join(" ")
}

/// A word as a shell would need it, so that two arguments do not look like three.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

pub(super) fn instance(instance: &Instance) -> String {
    let reachability = match instance.reachability() {
        Reachability::Reachable => "reachable: the phase is fresh",
        Reachability::Unreachable => "unreachable: the phase is the last one that was heard",
        Reachability::Unspecified => "not told",
    };
    let mut text = pairs(&[
        ("Instance", instance.id.clone()),
        ("Name", observe::name(instance)),
        ("Namespace", instance.namespace.clone()),
        ("Phase", instance_phase(instance.phase)),
        (
            "Retiring",
            if instance.retiring {
                "yes: it is wanted no more and ends".to_owned()
            } else {
                String::new()
            },
        ),
        ("Reachability", reachability.to_owned()),
        ("Cluster", instance.cluster.clone()),
        ("Worker", instance.worker.clone()),
        ("Handle", instance.handle.clone()),
        (
            "Running since",
            instance
                .running_since
                .as_ref()
                .map(|at| instant(Some(at)))
                .unwrap_or_default(),
        ),
        ("Restarts", instance.restarts.to_string()),
        (
            "Exit code",
            instance
                .exit_code
                .map(|code| code.to_string())
                .unwrap_or_default(),
        ),
        ("Slot", instance.slot_id.clone()),
    ]);
    let reasons = reasons(instance);
    if !reasons.is_empty() {
        text += &format!("\n{reasons}");
    }
    text
}

/// Reason, message, candidates and last output, indented.
fn reasons(instance: &Instance) -> String {
    let mut text = String::new();
    let said: Vec<&str> = [instance.reason.as_str(), instance.message.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    if !said.is_empty() {
        text += &format!("  {}\n", clean(&said.join(": ")));
    }
    for candidate in &instance.candidates {
        text += &format!(
            "  {}: {}\n",
            clean(&candidate.candidate),
            clean(&candidate.reasons.join(", "))
        );
    }
    if !instance.output_tail.is_empty() {
        text += "  Last output:\n";
        for line in clean_lines(&String::from_utf8_lossy(&instance.output_tail)).lines() {
            text += &format!("    | {line}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use edgeio_proto::api::v1::CandidateReasons;

    use super::*;

    #[test]
    fn a_pending_instance_names_every_candidate() {
        let candidate = |name: &str, why: &str| CandidateReasons {
            candidate: name.into(),
            reasons: vec![why.into(), "needs amd64".into()],
        };
        let text = instance(&Instance {
            phase: InstancePhase::Pending.into(),
            candidates: vec![
                candidate("worker a", "no CPU"),
                candidate("worker b", "no docker"),
            ],
            ..Default::default()
        });
        assert!(
            text.contains("  worker a: no CPU, needs amd64\n  worker b: no docker, needs amd64\n"),
            "{text}"
        );
    }

    #[test]
    fn output_is_shown_line_by_line_and_harmless() {
        let text = instance(&Instance {
            phase: InstancePhase::Failed.into(),
            reason: "Exited".into(),
            exit_code: Some(3),
            output_tail: b"one\n\x1b[2Jtwo \xff\n".to_vec(),
            ..Default::default()
        });
        assert!(text.contains("Exit code     3\n"), "{text}");
        assert!(
            text.ends_with("  Exited\n  Last output:\n    | one\n    | two \u{fffd}\n"),
            "{text}"
        );
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let spec = ServiceSpec {
            command: vec!["/bin/sh".into(), "-c".into(), "echo 'a b'".into()],
            args: vec![String::new()],
            ..Default::default()
        };
        assert_eq!(runs(&spec), r"/bin/sh -c 'echo '\''a b'\''' ''");
    }
}
