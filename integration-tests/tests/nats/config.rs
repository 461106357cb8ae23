//! What `nats-config` writes is a whole configuration, on both servers, with and without TLS.

use std::process::Command;

use anyhow::{Result, ensure};
use edgeio_cluster::broker::{Revocations, command::write};
use edgeio_integration_tests::testbed::{free_port, loopback};
use edgeio_proto::subject::CLAIMS_UPDATE;

use nkeys::KeyPair;
use uuid::Uuid;

use super::site::{Peer, Site, now, servers};

#[tokio::test]
async fn both_servers_take_what_is_written_and_run_on_it() -> Result<()> {
    for server in servers()? {
        let monitor = loopback(free_port()?);
        let site = Site::with(&server, |config| {
            config.monitor = Some(monitor);
            config.websocket = free_port().ok().map(loopback);
        })
        .await?;
        let checked = Command::new(&server)
            .arg("-t")
            .arg("-c")
            .arg(&site.conf)
            .output()?;
        ensure!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stderr)
        );
        let bridge = site.bridge().await?;
        let info = &bridge.info;
        ensure!(
            info["auth_required"] == true && info["jetstream"] != true,
            "{info}"
        );
        ensure!(info["max_payload"] == 256 * 1024, "{info}");
        let text = std::fs::read_to_string(&site.conf)?;
        for seed in site.seeds()? {
            ensure!(!text.contains(&seed), "the configuration holds a seed");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_a_broker_was_told_outlives_its_restart_and_a_new_configuration() -> Result<()> {
    for server in servers()? {
        let mut site = Site::new(&server).await?;
        let keys = KeyPair::new_user();
        let jwt = site
            .minter
            .worker(Uuid::now_v7(), &keys.public_key(), now(), now() + 3600)?;
        let mut revoker = site.revoker().await?;
        let revoked = Revocations::from([(keys.public_key(), now())]);
        let account = site.minter.account(now(), &revoked)?;
        let answer = revoker.request(CLAIMS_UPDATE, account.as_bytes()).await?;
        ensure!(answer.contains("\"code\":200"), "{answer}");
        // Written anew, it still is older than what was told.
        write(&site.config)?;
        site.restart().await?;
        let tried = Peer::connect(&site.url, Uuid::now_v7(), &keys, &jwt).await;
        ensure!(tried.is_err(), "a revoked worker came back by a restart");
        site.worker().await?;
    }
    Ok(())
}
