//! The door that needs nothing of ours: grpcurl against a live root, by reflection.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{Testbed, binaries::tool, eventually};
use serde_json::Value;

fn grpcurl(args: &[&str]) -> Result<Output> {
    Command::new(tool("grpcurl")?)
        .arg("-plaintext")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("run grpcurl")
}

fn answer(args: &[&str]) -> Result<String> {
    let done = grpcurl(args)?;
    let error = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "grpcurl {args:?}: {error}");
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn json(args: &[&str]) -> Result<Value> {
    serde_json::from_str(&answer(args)?).context("grpcurl's answer")
}

#[tokio::test]
async fn lists_describes_applies_and_watches() -> Result<()> {
    Testbed::new("grpcurl")
        .cluster("a")
        .run(async |bed| {
            let root = bed.root().address().to_owned();
            let cluster = bed.cluster("a")?.address().to_owned();
            for (server, of_its_own) in [
                (
                    &root,
                    [
                        "edgeio.root.v1.ClusterService",
                        "edgeio.root.v1.ClusterLinkService",
                    ],
                ),
                (
                    &cluster,
                    [
                        "edgeio.cluster.v1.WorkerService",
                        "edgeio.cluster.v1.BridgeService",
                    ],
                ),
            ] {
                let services = answer(&[server, "list"])?;
                for service in of_its_own.iter().chain(&[
                    "edgeio.api.v1.ApplicationService",
                    "grpc.health.v1.Health",
                    "grpc.reflection.v1.ServerReflection",
                    "grpc.reflection.v1alpha.ServerReflection",
                ]) {
                    ensure!(
                        services.lines().any(|l| l == *service),
                        "{service} not in {services}"
                    );
                }
                let said = json(&[server, "grpc.health.v1.Health/Check"])?;
                ensure!(said["status"] == "SERVING", "{said}");
            }
            let text = answer(&[&root, "describe", "edgeio.api.v1.ApplicationService"])?;
            ensure!(
                text.contains("rpc Apply ( .edgeio.api.v1.ApplyRequest )"),
                "{text}"
            );
            let text = answer(&[&root, "describe", "edgeio.api.v1.ServiceSpec"])?;
            ensure!(text.contains("optional uint32 replicas"), "{text}");

            let document = r#"{"application": {"name": "hello", "services": [
            {"name": "job", "replicas": 2, "command": ["/bin/sleep", "100000"]}]}}"#;
            let apply = "edgeio.api.v1.ApplicationService/Apply";
            let dry = document.replacen('{', r#"{"validate_only": true, "#, 1);
            let said = json(&["-d", &dry, &root, apply])?;
            let steps = said["plan"].as_array().map_or(0, Vec::len);
            ensure!(steps == 2, "{said}");
            ensure!(
                bed.root().get("hello").await?.is_none(),
                "a dry run stores nothing"
            );
            let said = json(&["-d", document, &root, apply])?;
            ensure!(said["application"]["version"] == "1", "{said}");

            // There is no worker: both wait, and the watch tells so. It would go on for ever, so a deadline ends it.
            eventually(
                "the watch tells of both replicas and their reason",
                async || {
                    let watch = [
                        "-max-time",
                        "1",
                        "-d",
                        r#"{"application": "hello"}"#,
                        &root,
                        "edgeio.api.v1.ApplicationService/Watch",
                    ];
                    let seen = String::from_utf8_lossy(&grpcurl(&watch)?.stdout).into_owned();
                    let changes: Vec<Value> = serde_json::Deserializer::from_str(&seen)
                        .into_iter()
                        .collect::<Result<_, _>>()
                        .context("the watch's messages")?;
                    let app = changes.iter().any(|c| c["application"]["name"] == "hello");
                    let waits = |c: &&Value| {
                        c["instance"]["phase"] == "INSTANCE_PHASE_PENDING"
                            && c["instance"]["candidates"][0]["candidate"] == "cluster a"
                    };
                    let waiting = changes.iter().filter(waits).count();
                    let whole = changes.iter().any(|c| c.get("bookmark").is_some());
                    ensure!(app && waiting == 2 && whole, "{seen}");
                    ensure!(changes.iter().all(|c| c["token"].is_string()), "{seen}");
                    Ok(())
                },
            )
            .await?;

            let refused = grpcurl(&[
                "-d",
                r#"{"application": {"name": "Bad Name"}}"#,
                &root,
                apply,
            ])?;
            let words = String::from_utf8_lossy(&refused.stderr).into_owned();
            ensure!(
                !refused.status.success() && words.contains("InvalidArgument"),
                "{words}"
            );
            json(&[
                "-d",
                r#"{"name": "hello"}"#,
                &root,
                "edgeio.api.v1.ApplicationService/Delete",
            ])?;
            bed.root().gone("hello").await
        })
        .await
}
