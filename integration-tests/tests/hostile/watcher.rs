//! Watchers that never read: they cost the server what their window holds and no more, and nobody else notices.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed,
    manifest::{app, native},
};
use edgeio_proto::api::v1::{WatchRequest, watch_response::Change};
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;

use super::{
    caller::dial,
    guest::{Footprint, Guest, compare},
    raw::{DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, block, frame},
    tell,
};

/// Watchers that never read.
const LAZY: u8 = 60;
/// Changes while they do not, and the bytes that each is told with: 24 MiB for each of them, and 1.4 GiB for all.
const CHANGES: usize = 400;
const CHANGE_BYTES: usize = 40 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_never_reads_harms_nobody() -> Result<()> {
    Testbed::new("watchers")
        .run(async |bed| {
            let root = bed.root();
            let address: SocketAddr = root.address().parse().context("the root's address")?;
            let mut spec = app("shop", [native("job", 0)]);
            let text = "x".repeat(CHANGE_BYTES);
            let fill = |number: usize| format!("{number} {text}");
            let mut change = async |number: usize| {
                for service in &mut spec.services {
                    service.env.insert("FILLER".to_owned(), fill(number));
                }
                root.apply(&spec).await
            };
            // Before the baseline: the first changes fill caches and pools.
            for number in 0..CHANGES / 4 {
                change(number).await?;
            }
            let guest = Guest::at(root);
            change(CHANGES).await?;
            let before = guest.leave().await?;
            let footprint = Footprint::of(bed, "root")?;

            let mut lazy = Vec::new();
            for number in 0..LAZY {
                let mut socket = dial(address, number + 1).await?;
                socket.write_all(&watch()).await.context("begin to watch")?;
                lazy.push(socket);
            }
            let good = root.applications().watch(WatchRequest::default()).await?;
            let last = tokio::spawn(async move {
                let mut stream = good.into_inner();
                let mut newest = 0;
                while let Some(told) = stream.message().await? {
                    if let Some(Change::Application(application)) = told.change {
                        newest = newest.max(application.version);
                    }
                    if newest == u64::MAX {
                        break;
                    }
                }
                anyhow::Ok(newest)
            });
            let guest = Guest::at(root);
            for number in 0..CHANGES {
                change(CHANGES + 1 + number).await?;
            }
            let during = guest.leave().await?;
            compare("root", &before, &during);
            ensure!(!last.is_finished(), "the watcher that reads was cut");
            let full = Footprint::of(bed, "root")?;
            tell(&format!(
                "{LAZY} watchers did not read {CHANGES} changes: {footprint:?} -> {full:?}"
            ));
            footprint.is_small(&full)?;
            drop(lazy);
            last.abort();
            footprint.is_restored(bed, "root").await?;
            root.delete("shop").await?;
            root.gone("shop").await
        })
        .await
}

/// A Watch of everything, by hand: the connection is never read, and nothing ever tells that there is room.
fn watch() -> Vec<u8> {
    let request = WatchRequest::default().encode_to_vec();
    let mut body = vec![0];
    body.extend(
        u32::try_from(request.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    body.extend(request);
    let path = "/edgeio.api.v1.ApplicationService/Watch";
    [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &block(path)),
        frame(DATA, 1, 1, &body),
    ]
    .concat()
}
