//! Bad input by gRPC: refused with the paths of what is wrong, and nothing is stored.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed,
    manifest::{app, container, native},
};
use edgeio_proto::api::v1::{
    ApplicationSpec, ApplyRequest, DeleteRequest, ListRequest, PortSpec, ResourceSpec,
    ScaleRequest, ServiceSpec,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// One service with one thing changed.
fn with(change: impl FnOnce(&mut ServiceSpec)) -> ApplicationSpec {
    let mut service = container("web", 1, "busybox");
    change(&mut service);
    app("shop", [service])
}

fn resources(cpu: &str, memory: &str) -> ApplicationSpec {
    let (cpu, memory) = (cpu.to_owned(), memory.to_owned());
    with(|s| s.resources = Some(ResourceSpec { cpu, memory }))
}

/// Twenty documents that mean nothing, and the path of what is wrong in each.
fn documents() -> Vec<(&'static str, ApplicationSpec)> {
    let named = |name: &str| app(name, [native("job", 1)]);
    vec![
        ("application.name", named("")),
        ("application.name", named("Shop")),
        ("application.name", named("shop.eu")),
        ("application.name", named(&"x".repeat(41))),
        (
            "application.namespace",
            ApplicationSpec {
                namespace: "No Space".to_owned(),
                ..named("shop")
            },
        ),
        ("application.services", app("shop", [])),
        (
            "application.services",
            app("shop", (0..101).map(|n| native(&format!("s{n}"), 1))),
        ),
        (
            "application.services[1].name",
            app("shop", [native("job", 1), native("job", 1)]),
        ),
        (
            "application.services[0].name",
            app("shop", [native("-job", 1)]),
        ),
        (
            "application.services[0].replicas",
            app("shop", [native("job", 10_001)]),
        ),
        (
            "application.services[0].command",
            with(|s| {
                s.image.clear();
                s.command.clear();
            }),
        ),
        (
            "application.services[0].image",
            with(|s| s.image = "UPPER CASE".to_owned()),
        ),
        (
            "application.services[0].runtime",
            with(|s| s.runtime = "No Such".to_owned()),
        ),
        (
            "application.services[0].resources.cpu",
            resources("many", ""),
        ),
        (
            "application.services[0].resources.memory",
            resources("", "-1Mi"),
        ),
        (
            "application.services[0].pull",
            with(|s| s.pull = "sometimes".to_owned()),
        ),
        (
            "application.services[0].restart",
            with(|s| s.restart = "maybe".to_owned()),
        ),
        (
            "application.services[0].stop_grace",
            with(|s| s.stop_grace = "soon".to_owned()),
        ),
        (
            "application.services[0].ports[0].container",
            with(|s| s.ports = vec![PortSpec::default()]),
        ),
        (
            "application.services[0].env",
            with(|s| s.env = BTreeMap::from([("A=B".to_owned(), "c".to_owned())])),
        ),
    ]
}

fn check(what: &str, path: &str, status: &Status) -> Result<()> {
    ensure!(status.code() == Code::InvalidArgument, "{what}: {status:?}");
    let details = status.get_error_details();
    let fields: Vec<String> = details
        .bad_request()
        .map(|b| {
            b.field_violations
                .iter()
                .map(|v| format!("{}: {}", v.field, v.description))
                .collect()
        })
        .unwrap_or_default();
    ensure!(
        fields.iter().any(|f| f.starts_with(path)),
        "{what}: no violation at {path}, but {fields:?}"
    );
    let reason = details
        .error_info()
        .map(|i| i.reason.clone())
        .unwrap_or_default();
    ensure!(
        !reason.is_empty(),
        "{what}: no stable reason in {details:?}"
    );
    Ok(())
}

#[tokio::test]
async fn twenty_bad_documents_are_refused_and_leave_nothing() -> Result<()> {
    Testbed::new("refusals")
        .cluster("a")
        .run(async |bed| {
            let documents = documents();
            ensure!(documents.len() == 20);
            for tier in [bed.root(), bed.cluster("a")?] {
                for (path, spec) in &documents {
                    for validate_only in [true, false] {
                        let request = ApplyRequest {
                            application: Some(spec.clone()),
                            validate_only,
                            ..ApplyRequest::default()
                        };
                        let what = format!("{path} at {}", tier.address());
                        match tier.applications().apply(request).await {
                            Ok(answer) => anyhow::bail!("{what} was accepted: {answer:?}"),
                            Err(status) => check(&what, path, &status)?,
                        }
                    }
                }
                let scale = ScaleRequest {
                    name: "shop".to_owned(),
                    replicas: 10_001,
                    ..ScaleRequest::default()
                };
                let refused = tier.applications().scale(scale).await;
                check(
                    "scale",
                    "replicas",
                    &refused.err().unwrap_or_else(|| Status::ok("accepted")),
                )?;
                let refused = tier.applications().delete(DeleteRequest::default()).await;
                check(
                    "delete",
                    "name",
                    &refused.err().unwrap_or_else(|| Status::ok("accepted")),
                )?;
                let left = tier
                    .applications()
                    .list(ListRequest::default())
                    .await?
                    .into_inner();
                ensure!(left.applications.is_empty(), "{left:?}");
                ensure!(tier.instances("").await?.is_empty(), "instances are left");
            }
            Ok(())
        })
        .await
}
