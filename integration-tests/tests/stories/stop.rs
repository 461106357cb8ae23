//! A signal ends each process gracefully with code 0, jobs run on; a second one ends it at once.

use std::task::Poll;

use anyhow::{Context, Result, ensure};
use edgeio_integration_tests::testbed::{
    Testbed, eventually,
    manifest::{app, native},
};
use edgeio_proto::api::v1::{ApplyRequest, ApplyResponse, WatchRequest};
use rustix::process::Signal;
use tokio_stream::StreamExt as _;
use tonic::{
    Code,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[tokio::test]
async fn each_process_stops_gracefully_and_jobs_run_on() -> Result<()> {
    let bed = Testbed::new("stop").cluster("a").worker("a1");
    let bed = bed
        .expect("detached from the cluster", "the cluster stops")
        .expect("cannot attach to the cluster", "the cluster stops");
    bed.run(async |bed| {
        let root = bed.root();
        root.apply(&app("shop", [bed.mark(native("job", 2))]))
            .await?;
        let before = root.running("shop", "job", 2).await?;
        let jobs = bed.jobs();
        // An open watch does not hold a stop up: it is ended, with a word.
        for (name, tier) in [("root", root), ("cluster-a", bed.cluster("a")?)] {
            let watch = tier.applications().watch(WatchRequest::default()).await?;
            let mut watch = watch.into_inner();
            watch.next().await.context("nothing came")??;
            bed.stop(name).await?;
            let last = loop {
                match watch.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => break status,
                    None => anyhow::bail!("{name}: the watch ended without a word"),
                }
            };
            ensure!(last.code() == Code::Unavailable, "{name}: {last:?}");
            bed.start(name).await?;
        }
        for name in ["bridge-a", "a1"] {
            bed.stop(name).await?;
            bed.start(name).await?;
        }
        root.scale("shop", "job", 3).await?;
        let after = root.running("shop", "job", 3).await?;
        ensure!(before.keys().all(|id| after.contains_key(id)));
        ensure!(jobs.is_subset(&bed.jobs()), "{jobs:?}");
        root.delete("shop").await?;
        root.gone("shop").await
    })
    .await
}

#[tokio::test]
async fn a_second_signal_ends_a_stop_that_waits() -> Result<()> {
    Testbed::new("signals")
        .cluster("a")
        .expect("by a second signal", "that is what it gets")
        .expect("detached from the cluster", "the cluster stops")
        .expect("cannot attach to the cluster", "the cluster stops")
        .run(async |bed| {
            for (name, tier) in [("cluster-a", bed.cluster("a")?), ("root", bed.root())] {
                // A request whose body never ends holds the stop up.
                let channel = Endpoint::from_shared(format!("http://{}", tier.address()))?
                    .connect()
                    .await?;
                let (asked, body_wanted) = tokio::sync::oneshot::channel();
                let call = tokio::spawn(endless(channel.clone(), asked));
                body_wanted.await.context("the call ended")?;
                // Calls of one connection arrive in order: an answer to this one proves that the server has that one.
                HealthClient::new(channel)
                    .check(HealthCheckRequest::default())
                    .await?;
                let program = bed.program(name)?;
                program.signal(Signal::TERM)?;
                eventually("it says that it stops", async || {
                    ensure!(program.printed().contains("stopping gracefully"));
                    Ok(())
                })
                .await?;
                ensure!(program.pid().is_some(), "{name} did not wait for the call");
                program.signal(Signal::TERM)?;
                let status = program.ended().await?;
                ensure!(status.code() == Some(143), "{name} ended with {status}");
                let broken = call.await?;
                ensure!(broken.is_err(), "{name} answered {broken:?}");
                bed.start(name).await?;
            }
            Ok(())
        })
        .await
}

/// Calls Apply with a body that never ends, and tells when it was asked for that body.
async fn endless(
    channel: Channel,
    asked: tokio::sync::oneshot::Sender<()>,
) -> Result<(), tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    let unready = |e: tonic::transport::Error| tonic::Status::unknown(e.to_string());
    grpc.ready().await.map_err(unready)?;
    let mut asked = Some(asked);
    let body = futures::stream::poll_fn(move |_| {
        if let Some(asked) = asked.take() {
            let _ = asked.send(());
        }
        Poll::<Option<ApplyRequest>>::Pending
    });
    let codec = tonic_prost::ProstCodec::<ApplyRequest, ApplyResponse>::default();
    let path = PathAndQuery::from_static("/edgeio.api.v1.ApplicationService/Apply");
    let call = grpc.client_streaming(tonic::Request::new(body), path, codec);
    call.await.map(drop)
}
