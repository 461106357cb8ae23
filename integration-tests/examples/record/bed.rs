//! A root, a cluster and a worker that run for a while: what they say on the bus, and what they leave on disk.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use edgeio_domain::time::Clock;
use edgeio_integration_tests::testbed::{
    Bed, Testbed, eventually,
    manifest::{app, native},
};
use edgeio_proto::link::v1::{ChildMessage, ParentMessage, Report, child_message};
use edgeio_store::open;
use edgeio_tier::system::SystemClock;
use futures::StreamExt as _;
use prost::Message as _;
use serde_json::json;

use super::{messages::write_json, summary};

/// What was said, in order: the subject's last part and the payload.
type Heard = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

pub(super) async fn record(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    Testbed::new("record")
        .cluster("a")
        .worker("a1")
        .later()
        // Everything that is said is heard, whoever says it.
        .open_broker()
        .expect("root is away", "the root is stopped")
        .expect("detached from the cluster", "the cluster is stopped")
        .expect("cannot attach to the cluster", "the cluster is stopped")
        .run(async |bed| {
            let heard = listen(bed).await?;
            bed.start("a1").await?;
            bed.ready(&["a1"]).await?;
            let root = bed.root();
            root.apply(&app("shop", [bed.mark(native("job", 2))]))
                .await?;
            root.running("shop", "job", 2).await?;
            root.apply(&app("gone", [bed.mark(native("brief", 1))]))
                .await?;
            root.running("gone", "brief", 1).await?;
            root.scale("shop", "job", 3).await?;
            root.running("shop", "job", 3).await?;
            root.delete("gone").await?;
            root.gone("gone").await?;
            bed.cluster("a")?
                .apply(&app("local", [bed.mark(native("own", 1))]))
                .await?;
            bed.cluster("a")?.running("local", "own", 1).await?;
            provoke_refusal(bed, &heard).await?;
            // A cluster that comes back asks for everything.
            bed.kill("cluster-a").await?;
            bed.start("cluster-a").await?;
            said(&heard, "a report request", |way, payload| {
                use edgeio_proto::link::v1::parent_message::Message::ReportRequest;
                let message = ParentMessage::decode(payload).map(|m| m.message);
                way == "control" && matches!(message, Ok(Some(ReportRequest(_))))
            })
            .await?;
            bed.ready(&["a1"]).await?;
            root.running("shop", "job", 3).await?;
            for name in ["a1", "cluster-a", "root"] {
                bed.stop(name).await?;
            }
            keep(bed, dir).await?;
            tell(&heard, &dir.join("conversation.jsonl"))?;
            for name in ["root", "cluster-a", "a1"] {
                bed.start(name).await?;
            }
            bed.ready(&["a1"]).await?;
            bed.cluster("a")?.delete("local").await?;
            root.delete("shop").await?;
            bed.cluster("a")?.gone("local").await?;
            root.gone("shop").await
        })
        .await
}

/// Hears everything on the bus.
async fn listen(bed: &Bed) -> Result<Heard> {
    let client = client(bed).await?;
    let mut messages = client.subscribe("edgeio.>").await?;
    client.flush().await?;
    let heard = Heard::default();
    let notes = heard.clone();
    tokio::spawn(async move {
        // Keeps the connection.
        let _client = client;
        while let Some(message) = messages.next().await {
            let way = message.subject.rsplit('.').next().unwrap_or_default();
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push((way.to_owned(), message.payload.to_vec()));
        }
    });
    Ok(heard)
}

async fn client(bed: &Bed) -> Result<async_nats::Client> {
    let pid = bed.program("nats-a")?.pid().context("no broker")?;
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    let port = line
        .split('\0')
        .find_map(|word| word.strip_prefix("--port="))
        .context("the broker's port")?;
    Ok(async_nats::connect(format!("127.0.0.1:{port}")).await?)
}

/// Reports in a session that never was.
async fn provoke_refusal(bed: &Bed, heard: &Heard) -> Result<()> {
    let worker = bed.worker_id("a1")?;
    let workers = bed.cluster("a")?.list_workers().await?;
    ensure!(workers.iter().any(|w| w.id == worker), "no a1");
    let cluster = bed.root().list_clusters().await?;
    let cluster = &cluster.first().context("no cluster")?.id;
    let report = ChildMessage {
        message: Some(child_message::Message::Report(Report {
            session_epoch: 1,
            seq: 1,
            ..Default::default()
        })),
    };
    let client = client(bed).await?;
    let subject = format!("edgeio.{cluster}.worker.{worker}.report");
    client
        .publish(subject, report.encode_to_vec().into())
        .await?;
    client.flush().await?;
    said(heard, "a refusal", |way, payload| {
        use edgeio_proto::link::v1::parent_message::Message::Refusal;
        let message = ParentMessage::decode(payload).map(|m| m.message);
        way == "control" && matches!(message, Ok(Some(Refusal(_))))
    })
    .await
}

async fn said(heard: &Heard, what: &str, is: impl Fn(&str, &[u8]) -> bool) -> Result<()> {
    eventually(what, async || {
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = heard.iter().any(|(way, payload)| is(way, payload));
        ensure!(seen, "not in {} messages", heard.len());
        Ok(())
    })
    .await
}

/// Copies what the stopped programs have on disk, and tells what is in it.
async fn keep(bed: &Bed, dir: &Path) -> Result<()> {
    for tier in ["root", "cluster-a"] {
        let to = dir.join(format!("{tier}.db"));
        let from = fs::read_dir(bed.data(tier))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|e| e == "db"))
            .with_context(|| format!("no database of {tier}"))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Looked at where it lies, so that no lock file gets into the recording.
        let store = open(&format!("sqlite:{}", from.display()), clock).await?;
        write_json(
            &dir.join(format!("{tier}.json")),
            &summary::database(&*store).await?,
        )?;
        store.close().await;
        fs::copy(&from, &to)?;
        // What is not in the file yet.
        let log = from.with_extension("db-wal");
        if log.exists() {
            fs::copy(log, to.with_extension("db-wal"))?;
        }
    }
    let data = bed.data("a1");
    fs::copy(data.join("ledger"), dir.join("ledger"))?;
    write_json(&dir.join("ledger.json"), &summary::ledger(&data)?)
}

/// One line a message, with its bytes in hexadecimal.
fn tell(heard: &Heard, path: &Path) -> Result<()> {
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = String::new();
    for (way, payload) in heard.iter() {
        let line = json!({ "channel": way, "hex": hex::encode(payload) });
        text.push_str(&format!("{line}\n"));
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
