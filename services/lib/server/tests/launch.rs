//! A whole binary made of the chassis: this program runs itself as that binary and looks at its
//! output, its exit codes and its API.
//!
//! Without the test harness, because the binary's `main` must be its own. The variable
//! `CHASSIS_CHILD` tells the child what it is; it is not the chassis' own.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is its report")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitCode, Output, Stdio};
use std::sync::Arc;

use edgeio_server::config::{Flat, Program, ServeConfig, Validate};
use edgeio_server::grpc::{Api, Listener};
use edgeio_server::launch::launch;
use edgeio_server::shutdown::Shutdown;
use edgeio_server::telemetry::TelemetryConfig;
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

edgeio_server::config! {
    /// All that a serving binary needs.
    struct Settings {
        /// Serving.
        serve: Flat<ServeConfig>,
        /// Logging.
        telemetry: Flat<TelemetryConfig>,
        /// End with an error instead of serving.
        broken: bool = false,
    }
}

impl Validate for Settings {}

const PROGRAM: Program = Program {
    name: "edgeio-child",
    version: "0.0.1",
    about: "A child.",
};

#[derive(Debug, thiserror::Error)]
#[error("open the store")]
struct Broken(#[source] std::io::Error);

async fn run(
    config: Settings,
    stop: Shutdown,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if config.broken {
        return Err(Broken(std::io::Error::other("it is locked")).into());
    }
    let auth = Arc::new(config.serve.local());
    let listener = Listener::bind(config.serve.listen).await?;
    let _ = Api::new(auth)
        .serve(listener, stop, config.serve.drain_timeout)
        .await?;
    Ok(())
}

fn main() -> ExitCode {
    if std::env::var_os("CHASSIS_CHILD").is_some() {
        return launch(&PROGRAM, |config: &Settings| &config.telemetry, run);
    }
    asks_are_answered_on_standard_output();
    bad_settings_exit_64_with_all_problems();
    an_error_exits_1_with_its_chain();
    serves_until_a_signal_and_exits_0();
    ExitCode::SUCCESS
}

fn child(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env_clear()
        .env("CHASSIS_CHILD", "1")
        .args(arguments);
    command
}

fn output(arguments: &[&str]) -> (Output, String, String) {
    let output = child(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

fn asks_are_answered_on_standard_output() {
    for (flag, expected) in [
        ("--version", "edgeio-child 0.0.1"),
        ("--help", "--drain-timeout <VALUE>"),
        ("--print-config", "drain_timeout = \"25s\""),
    ] {
        let (output, out, err) = output(&[flag]);
        assert!(output.status.success() && err.is_empty(), "{flag}: {err}");
        assert!(out.contains(expected), "{flag}: {out}");
    }
}

fn bad_settings_exit_64_with_all_problems() {
    let (output, out, err) = output(&["--listen", "0.0.0.0:0", "--drain-timeout", "soon"]);
    assert_eq!(output.status.code(), Some(64), "{err}");
    assert!(out.is_empty());
    assert!(
        err.starts_with("edgeio-child: 2 problems in the configuration\n"),
        "{err}"
    );
    assert!(
        err.contains("allow it with --insecure") && err.contains("such as `15s`"),
        "{err}"
    );
}

fn an_error_exits_1_with_its_chain() {
    let (output, _, err) = output(&["--broken"]);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("open the store: it is locked"), "{err}");
}

fn serves_until_a_signal_and_exits_0() {
    let mut child = child(&["--listen", "127.0.0.1:0", "--log-format", "json"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let address = address_in(&mut log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut health = HealthClient::new(endpoint.connect().await.unwrap());
        health.check(HealthCheckRequest::default()).await.unwrap();
    });
    stop(child, log);
}

/// Reads the log up to the line that names the bound address.
fn address_in(log: &mut BufReader<ChildStderr>) -> SocketAddr {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "the child ended without serving"
        );
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if event["message"] == "serving grpc" {
            return event["address"].as_str().unwrap().parse().unwrap();
        }
    }
}

fn stop(mut child: Child, mut log: BufReader<ChildStderr>) {
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    for message in ["stopping gracefully", "stopped serving grpc", "\"stopped\""] {
        assert!(rest.contains(message), "no `{message}` in {rest}");
    }
}
