//! Sizes and numbers: what is too large or too much harms whoever sends it, and nobody else.

use anyhow::{Result, ensure};
use edgeio_proto::subject::{Subject, every_report};

use super::site::{Site, servers};

const LARGEST: usize = 64 * 1024;

#[tokio::test]
async fn what_is_too_large_costs_its_sender_the_connection() -> Result<()> {
    for server in servers()? {
        let site = Site::new(&server).await?;
        let mut greedy = site.worker().await?;
        let mut good = site.worker().await?;
        let mut bridge = site.bridge().await?;
        bridge.subscribe(&every_report(site.cluster)).await?;
        bridge.settled().await?;
        let report = |id| Subject::report(site.cluster, id).to_string();
        greedy.publish(&report(greedy.id), &[1; LARGEST]).await?;
        greedy.settled().await?;
        // The broker may hang up before it has read all of it.
        let _ = greedy.publish(&report(greedy.id), &[2; LARGEST + 1]).await;
        greedy.hung_up().await?;
        good.publish(&report(good.id), &[3]).await?;
        good.settled().await?;
        bridge.settled().await?;
        let sizes: Vec<usize> = bridge
            .heard
            .iter()
            .map(|(_, payload)| payload.len())
            .collect();
        ensure!(sizes == [LARGEST, 1], "{sizes:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_seventeenth_subscription_is_refused() -> Result<()> {
    for server in servers()? {
        let site = Site::new(&server).await?;
        let (mut worker, mut bridge) = (site.worker().await?, site.bridge().await?);
        let control = Subject::control(site.cluster, worker.id).to_string();
        for _ in 0..16 {
            worker.subscribe(&control).await?;
        }
        worker.settled().await?;
        ensure!(worker.told.is_empty(), "{:?}", worker.told);
        worker.subscribe(&control).await?;
        worker.settled().await?;
        ensure!(
            worker.was_told("maximum subscriptions exceeded"),
            "{:?}",
            worker.told
        );
        bridge.publish(&control, b"x").await?;
        bridge.settled().await?;
        worker.settled().await?;
        ensure!(worker.heard.len() == 16, "{:?}", worker.heard);
    }
    Ok(())
}
