//! The life of a binary, so that every `main` is a table of contents: load the configuration, start
//! logging, take the signals, run, and turn the end into an exit code.

use std::error::Error;
use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, Effective, Program, from_arguments};
use crate::shutdown::{Shutdown, Signals};
use crate::status::chain;
use crate::telemetry::{self, TelemetryConfig};

/// How long blocking work (a file, a look-up of a name) may still take when everything else has
/// ended. It cannot be cancelled, and nothing durable depends on it.
const BLOCKING_GRACE: Duration = Duration::from_secs(1);

/// Runs a binary: exit 0 after a graceful stop, 64 on a bad configuration, 1 on an error.
///
/// `telemetry` names the configuration's logging section; `run` returns when `Shutdown` was fired
/// and all is put away, or with what went wrong.
///
/// ```no_run
/// use std::{error::Error, process::ExitCode, sync::Arc};
/// use edgeio_server::config::{Flat, Program, ServeConfig, Validate};
/// use edgeio_server::grpc::{Api, Listener, Served};
/// use edgeio_server::{launch::launch, shutdown::Shutdown, telemetry::TelemetryConfig};
///
/// edgeio_server::config! {
///     /// What the sample reads.
///     pub struct Settings {
///         /// Serving.
///         pub serve: Flat<ServeConfig>,
///         /// Logging.
///         pub telemetry: Flat<TelemetryConfig>,
///     }
/// }
/// impl Validate for Settings {}
///
/// async fn run(config: Settings, stop: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
///     let listener = Listener::bind(config.serve.listen).await?;
///     let api = Api::new(Arc::new(config.serve.local()));
///     // api = api.service(edgeio_server::bounded!(ApplicationServiceServer::new(handler)))
///     match api.serve(listener, stop, config.serve.drain_timeout).await? {
///         Served::Drained | Served::Cut(_) => Ok(()), // what was cut is logged
///     }
/// }
///
/// fn main() -> ExitCode {
///     let program = Program { name: "edgeio-sample", version: "1.0.0", about: "A sample." };
///     launch(&program, |settings: &Settings| &settings.telemetry, run)
/// }
/// ```
pub fn launch<C, F, Fut, E>(
    program: &Program,
    telemetry: fn(&C) -> &TelemetryConfig,
    run: F,
) -> ExitCode
where
    C: Config,
    F: FnOnce(C, Shutdown) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    launch_with(
        program,
        std::env::args_os(),
        Threads::PerCore,
        telemetry,
        run,
    )
}

/// How many threads drive a binary's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One per core.
    PerCore,
    /// The calling one only: each thread costs a small machine memory.
    One,
}

/// [`launch`] for a binary with commands of its own, or one that must stay small: `argv` are the
/// arguments that the configuration is read from, the program's name first.
pub fn launch_with<C, F, Fut, E>(
    program: &Program,
    argv: impl IntoIterator<Item = OsString>,
    threads: Threads,
    telemetry: fn(&C) -> &TelemetryConfig,
    run: F,
) -> ExitCode
where
    C: Config,
    F: FnOnce(C, Shutdown) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let Effective {
        config, warnings, ..
    } = match from_arguments(program, argv) {
        Ok(effective) => effective,
        Err(code) => return code,
    };
    if let Err(error) = telemetry::init(telemetry(&config)) {
        return failed(program, &error);
    }
    crate::tls::install_provider();
    tracing::info!(
        program = program.name,
        version = program.version,
        "starting"
    );
    for warning in warnings {
        tracing::warn!(%warning, "configuration is odd");
    }
    let mut builder = match threads {
        Threads::PerCore => tokio::runtime::Builder::new_multi_thread(),
        Threads::One => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(program, &error),
    };
    let outcome = runtime.block_on(async {
        let (trigger, stop) = Shutdown::new();
        // Spawned, hence handled from the first moment, while `run` still starts.
        let signals = tokio::spawn(Signals::install()?.drive(trigger));
        let outcome = run(config, stop).await.map_err(Into::into);
        signals.abort();
        outcome
    });
    runtime.shutdown_timeout(BLOCKING_GRACE);
    match outcome {
        Ok(()) => {
            tracing::info!(program = program.name, "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => failed(program, &*error),
    }
}

fn failed(program: &Program, error: &(dyn Error + 'static)) -> ExitCode {
    tracing::error!(program = program.name, error = %chain(error), "failed");
    ExitCode::FAILURE
}
