//! Three workers, every subject of each, publish and subscribe: each reaches its own and nothing of the others'.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, ensure};
use edgeio_proto::subject::{
    Channel, Subject, Way, every_answer, every_report, every_stream, every_telemetry,
};
use uuid::Uuid;

use super::site::{Peer, Site, servers};

/// What was heard: subjects and payloads.
type Heard = BTreeSet<(String, Vec<u8>)>;

/// Every subject of a worker, and whether it is the worker's to publish on.
fn subjects(cluster: Uuid, worker: Uuid, session: Uuid) -> Vec<(String, bool)> {
    let subject = |channel| {
        Subject {
            cluster,
            worker,
            channel,
        }
        .to_string()
    };
    let stream = |way| subject(Channel::Stream { session, way });
    vec![
        (subject(Channel::Control), false),
        (stream(Way::Down), false),
        (subject(Channel::Report), true),
        (subject(Channel::Telemetry), true),
        (stream(Way::Up), true),
    ]
}

/// What nobody may name: other people's, everything, and what is near one's own.
fn hostile(cluster: Uuid, own: Uuid, other: Uuid) -> Vec<String> {
    let name = |id: &str, rest: &str| format!("edgeio.{cluster}.worker.{id}.{rest}");
    let (own, other) = (own.to_string(), other.to_string());
    vec![
        ">".to_owned(),
        "*".to_owned(),
        "edgeio.>".to_owned(),
        "edgeio.*.worker.*.control".to_owned(),
        "edgeio.*.worker.*.report".to_owned(),
        name("*", "control"),
        name("*", "report"),
        name("*", ">"),
        name(&own, ">"),
        name(&own, "*"),
        name(&own, "stream.>"),
        name(&own, "control.more"),
        name(&other, "*"),
        name(&other, "stream.*.down"),
        format!("edgeio.*.worker.{own}.report.>"),
        format!("edgeio.{own}.worker.{own}.report.x"),
        "_INBOX.>".to_owned(),
        format!("_INBOX_{other}.>"),
        "$SYS.>".to_owned(),
        "$SYS.REQ.CLAIMS.UPDATE".to_owned(),
        "$JS.API.>".to_owned(),
        "worker.>".to_owned(),
    ]
}

/// A site with three workers and a bridge.
struct Bed {
    site: Site,
    workers: Vec<Peer>,
    bridge: Peer,
    session: Uuid,
}

impl Bed {
    async fn new(server: &Path) -> Result<Self> {
        let site = Site::new(server).await?;
        let mut workers = Vec::new();
        for _ in 0..3 {
            workers.push(site.worker().await?);
        }
        let bridge = site.bridge().await?;
        Ok(Self {
            site,
            workers,
            bridge,
            session: Uuid::now_v7(),
        })
    }

    fn subjects(&self, worker: Uuid) -> Vec<(String, bool)> {
        subjects(self.site.cluster, worker, self.session)
    }

    fn ids(&self) -> Vec<Uuid> {
        self.workers.iter().map(|worker| worker.id).collect()
    }
}

async fn publishing(server: &Path) -> Result<()> {
    let mut bed = Bed::new(server).await?;
    let (cluster, ids) = (bed.site.cluster, bed.ids());
    // Whoever may hear something listens: the bridge above, each worker below.
    for filter in [
        every_report(cluster),
        every_telemetry(cluster),
        every_stream(cluster, Way::Up),
    ] {
        bed.bridge.subscribe(&filter).await?;
    }
    bed.bridge.settled().await?;
    for (index, id) in ids.iter().enumerate() {
        let own = bed.subjects(*id);
        let worker = &mut bed.workers[index];
        for (subject, _) in own.iter().filter(|(_, up)| !up) {
            worker.subscribe(subject).await?;
        }
        worker.subscribe(&every_answer(worker.id)).await?;
        worker.settled().await?;
        ensure!(worker.told.is_empty(), "{:?}", worker.told);
    }
    // Everybody says everything everywhere, also on names that only look like subjects.
    let mut allowed = Heard::new();
    for (index, speaker) in ids.iter().enumerate() {
        let said = vec![u8::try_from(index)?];
        let mut refused = 0;
        for listener in &ids {
            let all = bed.subjects(*listener);
            let worker = &mut bed.workers[index];
            for (subject, up) in all {
                worker.publish(&subject, &said).await?;
                if speaker == listener && up {
                    allowed.insert((subject, said.clone()));
                } else {
                    refused += 1;
                }
            }
            worker
                .publish(&format!("_INBOX_{listener}.x"), &said)
                .await?;
            refused += 1;
            for subject in hostile(cluster, *speaker, *listener) {
                worker
                    .publish(&subject.replace(['*', '>'], "x"), &said)
                    .await?;
                refused += 1;
            }
        }
        let worker = &mut bed.workers[index];
        worker.settled().await?;
        let violations = worker
            .told
            .iter()
            .filter(|t| t.contains("permissions violation for publish"));
        let violations = violations.count();
        ensure!(
            violations == refused,
            "{violations} of {refused} refused: {:?}",
            worker.told
        );
    }
    // All was taken by the broker, so whatever leaked was sent on before these answers.
    bed.bridge.settled().await?;
    let heard: Heard = bed.bridge.heard.drain(..).collect();
    ensure!(
        heard == allowed,
        "the bridge heard {heard:?}, and not {allowed:?}"
    );
    for worker in &mut bed.workers {
        worker.settled().await?;
        ensure!(
            worker.heard.is_empty(),
            "a worker was told by another: {:?}",
            worker.heard
        );
    }
    Ok(())
}

async fn subscribing(server: &Path) -> Result<()> {
    let mut bed = Bed::new(server).await?;
    let (cluster, ids) = (bed.site.cluster, bed.ids());
    for (index, own) in ids.iter().enumerate() {
        let mut refused = 0;
        for other in &ids {
            let all = bed.subjects(*other);
            let worker = &mut bed.workers[index];
            for (subject, up) in all {
                worker.subscribe(&subject).await?;
                worker.join(&subject, "bridges").await?;
                refused += if own == other && !up { 0 } else { 2 };
            }
            if own != other {
                for subject in hostile(cluster, *own, *other) {
                    worker.subscribe(&subject).await?;
                    refused += 1;
                }
            }
        }
        let worker = &mut bed.workers[index];
        worker.settled().await?;
        let violations = worker
            .told
            .iter()
            .filter(|t| t.contains("permissions violation for subscription"));
        let violations = violations.count();
        ensure!(
            violations == refused,
            "{violations} of {refused} refused: {:?}",
            worker.told
        );
    }
    // The owners say what is theirs to say.
    let mut allowed: Vec<Heard> = vec![Heard::new(); ids.len()];
    for (index, id) in ids.iter().enumerate() {
        for (subject, up) in bed.subjects(*id) {
            let speaker = if up {
                &mut bed.workers[index]
            } else {
                &mut bed.bridge
            };
            speaker.publish(&subject, b"secret").await?;
            speaker.settled().await?;
            if !up {
                allowed[index].insert((subject, b"secret".to_vec()));
            }
        }
    }
    for (worker, allowed) in bed.workers.iter_mut().zip(allowed) {
        worker.settled().await?;
        let heard: Heard = worker.heard.drain(..).collect();
        ensure!(
            heard == allowed,
            "a worker heard {heard:?}, and not {allowed:?}"
        );
    }
    Ok(())
}

async fn bridges(server: &Path) -> Result<()> {
    let mut bed = Bed::new(server).await?;
    let (cluster, ids) = (bed.site.cluster, bed.ids());
    let mut revoker = bed.site.revoker().await?;
    let control = Subject::control(cluster, ids[0]).to_string();
    let report = Subject::report(cluster, ids[0]).to_string();
    for peer in [&mut bed.bridge, &mut revoker] {
        for subject in [
            &control,
            "edgeio.>",
            ">",
            &every_report(Uuid::now_v7()),
            "$SYS.>",
            "$SYS.REQ.CLAIMS.UPDATE",
            "_INBOX.>",
        ] {
            peer.subscribe(subject).await?;
        }
        // A bridge does not speak as a worker, nor to the broker about anything but accounts.
        for subject in [
            report.as_str(),
            "$SYS.REQ.SERVER.PING",
            "$SYS.REQ.CLAIMS.DELETE",
        ] {
            peer.publish(subject, b"forged").await?;
        }
        peer.settled().await?;
        let refused = |way: &str| peer.told.iter().filter(|t| t.contains(way)).count();
        ensure!(
            refused("violation for subscription") == 7,
            "{:?}",
            peer.told
        );
        ensure!(refused("violation for publish") == 3, "{:?}", peer.told);
    }
    bed.bridge.subscribe(&every_report(cluster)).await?;
    bed.bridge.settled().await?;
    bed.workers[0].publish(&report, b"true").await?;
    bed.workers[0].settled().await?;
    // Of the account's subjects the system account has nothing, whatever it may name.
    revoker.publish(&report, b"forged").await?;
    revoker.settled().await?;
    bed.bridge.settled().await?;
    ensure!(
        bed.bridge.heard == [(report, b"true".to_vec())],
        "{:?}",
        bed.bridge.heard
    );
    ensure!(revoker.heard.is_empty(), "{:?}", revoker.heard);
    Ok(())
}

#[tokio::test]
async fn who_may_publish_what() -> Result<()> {
    for server in servers()? {
        publishing(&server).await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_may_hear_what() -> Result<()> {
    for server in servers()? {
        subscribing(&server).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_a_bridge_may_not() -> Result<()> {
    for server in servers()? {
        bridges(&server).await?;
    }
    Ok(())
}
