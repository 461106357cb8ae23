//! Workers use the broker by passes that are replaced while they run, and that are void once the worker is forgotten.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use async_nats::{Auth, ConnectOptions};
use edgeio_integration_tests::testbed::{
    Testbed, eventually,
    manifest::{app, native},
};
use edgeio_proto::cluster::v1::ForgetRequest;
use nkeys::KeyPair;

/// What lies in a worker's data directory: its pass and the broker's address.
fn identity(data: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read(data.join("identity.json")).context("read the identity")?;
    Ok(serde_json::from_slice(&text)?)
}

fn pass(data: &Path) -> Result<String> {
    let identity = identity(data)?;
    let pass = identity["broker_pass"].as_str().context("no pass")?;
    ensure!(!pass.is_empty(), "an empty pass");
    Ok(pass.to_owned())
}

#[tokio::test]
async fn passes_are_replaced_and_nobody_notices() -> Result<()> {
    let bed = Testbed::new("passes")
        .cluster("a")
        .worker("a1")
        .tier_with("cluster-a", &["--broker-pass-life=6s"]);
    bed.run(async |bed| {
        let root = bed.root();
        root.apply(&app("shop", [bed.mark(native("job", 2))]))
            .await?;
        let before = root.running("shop", "job", 2).await?;
        let jobs = bed.jobs();
        let mut seen = BTreeSet::new();
        let data = bed.data("a1");
        // Longer than any one of them is good. A worker or bridge that is thrown out says so in its log, which fails the story.
        eventually("the fourth pass is shown", async || {
            seen.insert(pass(&data)?);
            ensure!(seen.len() >= 4, "{} passes", seen.len());
            Ok(())
        })
        .await?;
        bed.ready(&["a1"]).await?;
        ensure!(bed.jobs() == jobs, "{jobs:?} became {:?}", bed.jobs());
        let now = root.running("shop", "job", 2).await?;
        ensure!(now.keys().eq(before.keys()), "{before:?} became {now:?}");
        root.delete("shop").await?;
        root.gone("shop").await
    })
    .await
}

/// A thief's connection with a worker's files; what the broker tells of it goes into `told`.
async fn thief(data: &Path, told: Arc<Mutex<Vec<String>>>) -> Result<async_nats::Client> {
    let (identity, jwt) = (identity(data)?, pass(data)?);
    let seed = std::fs::read_to_string(data.join("nkey.seed"))?;
    let keys = Arc::new(KeyPair::from_seed(seed.trim())?);
    let show = move |nonce: Vec<u8>| {
        let (keys, jwt) = (keys.clone(), jwt.clone());
        async move {
            let mut auth = Auth::new();
            auth.signature = Some(keys.sign(&nonce).map_err(async_nats::AuthError::new)?);
            auth.jwt = Some(jwt);
            Ok(auth)
        }
    };
    let address = format!(
        "{}:{}",
        identity["broker_address"].as_str().unwrap_or_default(),
        identity["broker_port"]
    );
    let client = ConnectOptions::with_auth_callback(show)
        .event_callback(move |event| {
            if let Ok(mut all) = told.lock() {
                all.push(event.to_string());
            }
            std::future::ready(())
        })
        .connect(address)
        .await?;
    Ok(client)
}

#[tokio::test]
async fn what_is_stolen_from_a_worker_is_void_once_it_is_forgotten() -> Result<()> {
    let bed = Testbed::new("stolen")
        .cluster("a")
        .worker("a1")
        .worker("a2")
        .expect("broker lost, jobs run on", "the broker was killed")
        .expect("broker not reached", "the broker was killed")
        .expect("the broker is not reached", "the broker was killed")
        .expect("detached from the cluster", "the cluster was killed")
        .expect("cannot attach to the cluster", "the cluster was killed")
        .expect("root is away", "the cluster was killed");
    bed.run(async |bed| {
        bed.kill("a1").await?;
        let data = bed.data("a1");
        let told = Arc::new(Mutex::new(Vec::new()));
        let _connected = thief(&data, told.clone()).await.context("a good pass")?;
        let request = ForgetRequest {
            worker: "a1".to_owned(),
            force: true,
            ..ForgetRequest::default()
        };
        bed.cluster("a")?.workers().forget(request).await?;
        let forgotten = Instant::now();
        eventually("the thief is cut off", async || {
            let told = told.lock().map(|all| all.clone()).unwrap_or_default();
            ensure!(told.iter().any(|event| event == "disconnected"), "{told:?}");
            Ok(())
        })
        .await?;
        let took = forgotten.elapsed();
        ensure!(took < Duration::from_secs(1), "cut off after {took:?} only");
        ensure!(
            thief(&data, Arc::default()).await.is_err(),
            "it was let in again"
        );
        // A broker that begins anew knows it still, and so does a cluster.
        for program in ["nats-a", "cluster-a"] {
            bed.kill(program).await?;
            bed.start(program).await?;
            bed.ready(&["a2"]).await?;
            ensure!(
                thief(&data, Arc::default()).await.is_err(),
                "it was let in by a new {program}"
            );
        }
        Ok(())
    })
    .await
}
