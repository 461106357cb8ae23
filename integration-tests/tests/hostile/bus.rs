//! Hostile messages on the broker: garbage to a worker, garbage to the bridge, and a worker gone bad, whose reports come in its own
//! session. Its cluster, the bridge and the other worker go on; a worker that was lied to works again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use edgeio_bridge::bus::MAX_PAYLOAD;
use edgeio_bridge::subject::Subject;
use edgeio_integration_tests::{
    targets::{Dice, messages},
    testbed::{
        Bed, Testbed, eventually,
        manifest::{app, native},
        stolen::Stolen,
    },
};
use edgeio_proto::link::v1::{ChildMessage, ParentMessage, Report, child_message};
use futures::StreamExt as _;
use prost::Message as _;

use super::{
    guest::{Footprint, Guest, compare},
    seed, setting, tell,
};

/// Lines of complaint that a program may write about a flood: it is told of, not repeated.
const COMPLAINTS: usize = 100;
/// After so many messages the client waits until the broker has them, so that the broker does not drop them for us.
const FLUSH: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridge_cluster_and_worker_take_hostile_messages() -> Result<()> {
    let (seed, count) = (seed()?, setting("EDGEIO_HOSTILE_REQUESTS", 10_000)?);
    Testbed::new("liars")
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .expect(
            "exceeded slow threshold",
            "in a flood calls wait for the database",
        )
        .expect(
            "of the protocol, the child",
            "nonsense in a hello is told of",
        )
        .expect("without a readable", "nonsense in a hello is told of")
        .expect("of another owner", "nonsense in a report is told of")
        .expect("no message", "garbage is told of")
        .expect("not understood", "garbage is told of")
        .expect("cannot be understood", "nonsense in a report is told of")
        .expect("held back", "nonsense in a report is told of")
        .expect(
            "another child's assignment",
            "a worker lies about the others",
        )
        .expect("came faster", "it is a flood")
        .expect("were lost", "it is a flood")
        .expect(
            "another session of this worker",
            "its identity is used by somebody else",
        )
        .run(async |bed| {
            bed.root()
                .apply(&app("shop", [bed.mark(native("job", 2))]))
                .await?;
            bed.root().running("shop", "job", 2).await?;
            let footprints =
                ["cluster-a", "bridge-a", "a1"].map(|name| (name, Footprint::of(bed, name)));
            let jobs = bed.jobs();

            let guest = Guest::at(bed.cluster("a")?);
            garbage(bed, seed, count).await?;
            ensure!(bed.jobs() == jobs, "garbage on the bus touched a job");
            let before = guest.leave().await?;

            let guest = Guest::at(bed.cluster("a")?);
            lies(bed, seed, count).await?;
            let during = guest.leave().await?;
            compare("cluster-a", &before, &during);

            // The liar is put right by a start anew, and everybody works for the user as before.
            bed.kill("a1").await?;
            bed.start("a1").await?;
            bed.ready(&["a1", "a2"]).await?;
            bed.root().delete("shop").await?;
            bed.root().gone("shop").await?;
            bed.root()
                .apply(&app("again", [bed.mark(native("job", 2))]))
                .await?;
            bed.root().running("again", "job", 2).await?;
            bed.root().delete("again").await?;
            bed.root().gone("again").await?;
            for (name, footprint) in footprints {
                // The worker is another process by now.
                if name != "a1" {
                    footprint?.is_restored(bed, name).await?;
                }
                let printed = bed.program(name)?.printed();
                let complaints = printed
                    .lines()
                    .filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\""))
                    .count();
                tell(&format!("{name}: {complaints} lines of complaint"));
                ensure!(
                    complaints <= COMPLAINTS,
                    "{name} complained {complaints} times"
                );
            }
            Ok(())
        })
        .await
}

/// Bytes that are no message, and messages that are nobody's, on every subject that the broker lets a stolen bridge, a stolen worker
/// and workers unknown to the cluster write to.
async fn garbage(bed: &Bed, seed: u64, count: u64) -> Result<()> {
    let worker = Stolen::from(&bed.data("a1"))?;
    let keys = bed.data("cluster-a");
    let bridge = worker.bridge(&keys)?.connect().await?;
    let mut workers = vec![(worker.id, worker.connect().await?)];
    for _ in 0..3 {
        let ghost = worker.ghost(&keys)?;
        workers.push((ghost.id, ghost.connect().await?));
    }
    let mut dice = Dice::new(seed);
    for number in 0..count {
        let kind = if dice.one_in(2) {
            "edgeio.link.v1.ChildMessage"
        } else {
            "edgeio.link.v1.ParentMessage"
        };
        let payload = match dice.below(6) {
            0 => dice.bytes(200),
            1 if dice.one_in(20) => vec![0x0a; MAX_PAYLOAD],
            2 => {
                let message = messages::encoded(&mut dice, kind);
                dice.change(message, &[])
            }
            _ => messages::encoded(&mut dice, kind),
        };
        if dice.one_in(2) {
            let whom = if dice.one_in(3) { dice.id() } else { worker.id };
            let subject = Subject::control(worker.cluster, whom).to_string();
            publish(&bridge, subject, payload, number).await?;
            continue;
        }
        let (id, client) = dice.pick(&workers).context("a worker")?;
        let subject = if dice.one_in(2) {
            Subject::report(worker.cluster, *id)
        } else {
            Subject::telemetry(worker.cluster, *id)
        };
        publish(client, subject.to_string(), payload, number).await?;
    }
    for (_, client) in workers {
        client.flush().await.context("flush")?;
    }
    bridge.flush().await.context("flush")
}

/// Reports of a worker gone bad, in its own session.
async fn lies(bed: &Bed, seed: u64, count: u64) -> Result<()> {
    let stolen = Stolen::from(&bed.data("a1"))?;
    let (client, cluster, worker) = (stolen.connect().await?, stolen.cluster, stolen.id);
    let control = Subject::control(cluster, worker).to_string();
    let mut told = client.subscribe(control).await.context("listen")?;
    let next = async {
        while let Some(message) = told.next().await {
            if let Ok(message) = ParentMessage::decode(message.payload) {
                return Ok(message.session_epoch);
            }
        }
        anyhow::bail!("the broker hung up")
    };
    let epoch = tokio::time::timeout(Duration::from_secs(30), next).await;
    let epoch = epoch.context("no word of the cluster to its worker")??;
    let instances = bed.cluster("a")?.instances("").await?;
    let mut dice = Dice::new(seed);
    for number in 0..count {
        let made = messages::encoded(&mut dice, "edgeio.link.v1.Report");
        let mut report = Report::decode(made.as_slice()).context("a made report")?;
        report.session_epoch = epoch;
        report.seq = if dice.one_in(40) {
            dice.number()
        } else {
            1_000 + number
        };
        for entry in &mut report.entries {
            if let (Some(instance), true) = (dice.pick(&instances), dice.one_in(2)) {
                entry.id.clone_from(&instance.id);
            }
        }
        let message = ChildMessage {
            message: Some(child_message::Message::Report(report)),
        };
        let subject = Subject::report(cluster, worker).to_string();
        publish(&client, subject, message.encode_to_vec(), number).await?;
    }
    client.flush().await.context("flush")?;
    eventually("the cluster answers after the lies", async || {
        bed.cluster("a")?.get("none").await.map(drop)
    })
    .await
}

/// Publishes what is not too large, which would only cost the sender its connection.
async fn publish(
    client: &async_nats::Client,
    subject: String,
    payload: Vec<u8>,
    number: u64,
) -> Result<()> {
    if payload.len() > MAX_PAYLOAD {
        return Ok(());
    }
    let published = client.publish(subject, payload.into()).await;
    published.context("publish")?;
    if number.is_multiple_of(FLUSH) {
        client.flush().await.context("flush")?;
    }
    Ok(())
}
