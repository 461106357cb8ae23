//! Starting a container: the engine by itself, and Docker Swarm on the same kind of engine, taking turns with it.

use std::path::Path;

use anyhow::Result;

use crate::{
    engine::Engine,
    options::{Options, Peer},
    report::{Report, Row},
    stats::{Series, compare},
    swarm::Swarm,
};

pub(crate) async fn run(options: &Options, report: &mut Report, dir: &Path) -> Result<()> {
    let engine = Engine::usual(dir).await?;
    let swarm = match options.peer {
        Peer::Swarm => Some(Swarm::start(dir).await?),
        Peer::None => None,
    };
    let measured = measure(options, report, &engine, swarm.as_ref()).await;
    // All is cleaned up also after a failure, which is told first: it is the cause of what follows from it.
    let stopped = match swarm {
        Some(swarm) => swarm.stop().await,
        None => Ok(()),
    };
    let cleaned = engine.clean().await;
    measured.and(stopped).and(cleaned)
}

async fn measure(
    options: &Options,
    report: &mut Report,
    engine: &Engine,
    swarm: Option<&Swarm>,
) -> Result<()> {
    let (host, bridge) = (engine.body("host"), engine.body("bridge"));
    // The first start of all loads what later ones find loaded.
    engine.create_start_remove(&host).await?;
    engine.create_start_remove(&bridge).await?;
    if let Some(swarm) = swarm {
        swarm.raw().await?;
        swarm.service("warm-up").await?;
    }
    let [
        mut on_host,
        mut on_bridge,
        mut removal,
        mut raw,
        mut service,
    ] = std::array::from_fn(|_| Series::default());
    for round in 1..=options.rounds {
        report.machine.settle(options.quiet_wait())?;
        report.note(&format!("containers: round {round} of {}", options.rounds))?;
        for series in [
            &mut on_host,
            &mut on_bridge,
            &mut removal,
            &mut raw,
            &mut service,
        ] {
            series.begin();
        }
        for sample in 0..options.samples {
            let (started, removed) = engine.create_start_remove(&host).await?;
            on_host.add(started);
            removal.add(removed);
            on_bridge.add(engine.create_start_remove(&bridge).await?.0);
            if let Some(swarm) = swarm {
                raw.add(swarm.raw().await?);
                service.add(swarm.service(&format!("floor-{round}-{sample}")).await?);
            }
        }
    }
    let mut rows = vec![
        Row::new(
            "floors",
            "Docker create and start, host network",
            "ms",
            &on_host,
        ),
        Row::new(
            "floors",
            "Docker create and start, bridge network",
            "ms",
            &on_bridge,
        ),
        Row::new("floors", "Docker kill and remove", "ms", &removal),
    ];
    if swarm.is_some() {
        rows.push(
            Row::new(
                "floors",
                "Swarm service until RUNNING, host network",
                "ms",
                &service,
            )
            .over(compare(&service, &raw, options.seed), &raw),
        );
    }
    report.rows("Floors: starting a container", &rows)
}
