//! One deployment through the whole line: from the call at the root until a watching client sees RUNNING, minus what the
//! engine takes for the same container by itself. Floor, edgeIO and Swarm take turns sample by sample.

mod trace;
mod watcher;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};
use bollard::models::ContainerCreateBody;
use edgeio_proto::api::v1 as api;

use crate::{
    child::fresh_dir,
    engine::{COMMAND, Engine, IMAGE},
    line::Line,
    options::{Options, Peer},
    report::{Report, Row, figure},
    stats::{Series, compare},
    swarm::Swarm,
};
use trace::Waterfall;
use watcher::Client;

/// Most that orchestration may add to a container's start, in ms (goal G1).
const OVER_CONTAINER: f64 = 2.0;
/// Most that the whole may take of the engine's own time (goal G1).
const RATIO: f64 = 1.08;
/// Most that orchestration may add to a native process, in ms (goal G2).
const OVER_PROCESS: f64 = 1.5;
/// How many times less than Swarm orchestration adds (goal G1).
const TIMES_LESS_THAN_SWARM: f64 = 100.0;

/// Measures deployments.
pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let dir = fresh_dir(&options.data_dir, "deploy")?;
    let engine = Engine::usual(&dir).await?;
    let measured = with_engine(options, report, &engine, &dir).await;
    let cleaned = engine.clean().await;
    measured.and(cleaned)?;
    std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
}

async fn with_engine(
    options: &Options,
    report: &mut Report,
    engine: &Engine,
    dir: &Path,
) -> Result<()> {
    let line = Line::start(options, dir).await?;
    let mut client = Client::start(&line).await?;
    let swarm = match options.peer {
        Peer::Swarm => Some(Swarm::start(dir).await?),
        Peer::None => None,
    };
    let measured = measure(options, report, engine, &mut client, swarm.as_ref()).await;
    let stopped = match swarm {
        Some(swarm) => swarm.stop().await,
        None => Ok(()),
    };
    measured.and(stopped)
}

#[derive(Default)]
struct Measured {
    container_floor: Series,
    container: Series,
    /// Its time before the engine was asked and after it had started: free of how fast the engine happens to be.
    outside: Series,
    process_floor: Series,
    process: Series,
    swarm_floor: Series,
    swarm: Series,
    container_hops: Waterfall,
    process_hops: Waterfall,
}

impl Measured {
    fn begin(&mut self) {
        for series in [
            &mut self.container_floor,
            &mut self.container,
            &mut self.outside,
            &mut self.process_floor,
            &mut self.process,
            &mut self.swarm_floor,
            &mut self.swarm,
        ] {
            series.begin();
        }
    }
}

async fn measure(
    options: &Options,
    report: &mut Report,
    engine: &Engine,
    client: &mut Client,
    swarm: Option<&Swarm>,
) -> Result<()> {
    // The first ones load what later ones find loaded; the floor's container is then a copy of the worker's.
    let body = twin(engine, client).await?;
    client.deploy(process_spec("warm-up-process"), None).await?;
    engine.create_start_remove(&body).await?;
    if let Some(swarm) = swarm {
        swarm.raw().await?;
        swarm.service("warm-up").await?;
    }
    let mut all = Measured::default();
    for round in 1..=options.rounds {
        report.machine.settle(options.quiet_wait())?;
        report.note(&format!("deploy: round {round} of {}", options.rounds))?;
        all.begin();
        for sample in 0..options.samples {
            let name = format!("bench-{round}-{sample}");
            all.container_floor
                .add(engine.create_start_remove(&body).await?.0);
            let spec = container_spec(&format!("{name}-c"));
            let trace = client.deploy(spec, Some(engine)).await?;
            all.container.add(trace.total());
            all.outside.add(trace.outside_engine());
            all.container_hops.add(&trace);
            all.process_floor.add(spawn()?);
            let trace = client
                .deploy(process_spec(&format!("{name}-p")), None)
                .await?;
            all.process.add(trace.total());
            all.process_hops.add(&trace);
            if let Some(swarm) = swarm {
                all.swarm_floor.add(swarm.raw().await?);
                all.swarm.add(swarm.service(&name).await?);
            }
        }
    }
    tell(options, report, &all, swarm.is_some())
}

fn tell(options: &Options, report: &mut Report, all: &Measured, peer: bool) -> Result<()> {
    let container = compare(&all.container, &all.container_floor, options.seed);
    let process = compare(&all.process, &all.process_floor, options.seed);
    let row = |variant, series| Row::new("deploy", variant, "ms", series);
    let mut rows = vec![
        row("Docker create and start by itself", &all.container_floor),
        row("edgeIO, container until RUNNING", &all.container)
            .over(container, &all.container_floor)
            .goal(
                "G1",
                format!(
                    "adds {} ms (goal: at most {OVER_CONTAINER}), takes {:.3} of the engine's own time (at most {RATIO})",
                    figure(container.over.value),
                    container.ratio.value,
                ),
                container.over.value <= OVER_CONTAINER && container.ratio.value <= RATIO,
            ),
        row("edgeIO, what is not between the engine's own stamps", &all.outside),
        row("fork and exec by itself", &all.process_floor),
        row("edgeIO, native process until RUNNING", &all.process)
            .over(process, &all.process_floor)
            .goal(
                "G2",
                format!(
                    "adds {} ms (goal: at most {OVER_PROCESS})",
                    figure(process.over.value)
                ),
                process.over.value <= OVER_PROCESS,
            ),
    ];
    if peer {
        let swarm = compare(&all.swarm, &all.swarm_floor, options.seed);
        // The ends of both intervals that speak against us: noise must not make a claim.
        let (theirs, ours) = (swarm.over.low, container.over.high);
        let words = if ours > 0.0 {
            format!(
                "Swarm adds at least {} ms, edgeIO at most {}: {:.0} times (goal: at least {TIMES_LESS_THAN_SWARM:.0})",
                figure(theirs),
                figure(ours),
                theirs / ours,
            )
        } else {
            "what edgeIO adds is lost in noise: the machine was not quiet enough".to_owned()
        };
        rows.push(row(
            "Docker create and start, Swarm's daemon",
            &all.swarm_floor,
        ));
        rows.push(
            row("Swarm service until RUNNING", &all.swarm)
                .over(swarm, &all.swarm_floor)
                .goal(
                    "G1",
                    words,
                    ours > 0.0 && theirs / ours >= TIMES_LESS_THAN_SWARM,
                ),
        );
    }
    report.rows("One deployment, submitted at the root", &rows)?;
    all.container_hops.tell(report, "Hop by hop: a container")?;
    all.process_hops
        .tell(report, "Hop by hop: a native process")
}

fn container_spec(name: &str) -> api::ApplicationSpec {
    service(
        name,
        api::ServiceSpec {
            image: IMAGE.to_owned(),
            pull: "never".to_owned(),
            command: COMMAND.map(str::to_owned).to_vec(),
            ..api::ServiceSpec::default()
        },
    )
}

fn process_spec(name: &str) -> api::ApplicationSpec {
    service(
        name,
        api::ServiceSpec {
            runtime: "process".to_owned(),
            command: vec!["/bin/sleep".to_owned(), "3600".to_owned()],
            ..api::ServiceSpec::default()
        },
    )
}

fn service(name: &str, spec: api::ServiceSpec) -> api::ApplicationSpec {
    api::ApplicationSpec {
        name: name.to_owned(),
        services: vec![api::ServiceSpec {
            name: "job".to_owned(),
            ..spec
        }],
        ..api::ApplicationSpec::default()
    }
}

/// What the worker asks of the engine for a container, with labels of its own: by those labels the worker knows
/// what it owns.
async fn twin(engine: &Engine, client: &mut Client) -> Result<ContainerCreateBody> {
    let container = client
        .inspect_one(container_spec("warm-up-container"), engine)
        .await?;
    let mut body = serde_json::to_value(container.config.context("no config")?)?;
    let fields = body.as_object_mut().context("a config is an object")?;
    // The engine derives it from the container's id.
    fields.remove("Hostname");
    let host = serde_json::to_value(container.host_config.context("no host config")?)?;
    fields.insert("HostConfig".to_owned(), host);
    let mut body: ContainerCreateBody = serde_json::from_value(body)?;
    let labels = body.labels.take().unwrap_or_default();
    let renamed = labels
        .into_iter()
        .map(|(key, value)| (format!("bench.{key}"), value));
    body.labels = Some(renamed.collect());
    Ok(body)
}

/// Starts and ends a native process: milliseconds until it was started.
fn spawn() -> Result<f64> {
    let start = Instant::now();
    let mut child = Command::new("/bin/sleep")
        .arg("3600")
        .stdin(Stdio::null())
        .spawn()
        .context("start sleep")?;
    let started = start.elapsed().as_secs_f64() * 1e3;
    child.kill().context("end sleep")?;
    child.wait().context("wait for sleep")?;
    Ok(started)
}
