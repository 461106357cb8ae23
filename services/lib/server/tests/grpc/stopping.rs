//! Health, and every way to stop.

use std::time::Duration;

use edgeio_server::grpc::{Limits, OpenCall, Served};
use edgeio_server::telemetry::Capture;
use futures::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::support::{GET, PATIENCE, Running, WATCH, get, watch};

#[tokio::test]
async fn health_tells_each_service_and_goes_down_with_the_stop() {
    let capture = Capture::start();
    let server = Running::start().await;
    let mut health = HealthClient::new(server.channel().await);
    for service in ["", "edgeio.api.v1.ApplicationService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "`{service}`");
    }
    let mut states = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        states.next().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    server.trigger.fire();
    // The watch may still tell NOT_SERVING; then the stop ends it: it must not hold up the drain.
    let last = loop {
        match states.next().await.unwrap() {
            Ok(state) => assert_eq!(state.status(), ServingStatus::NotServing),
            Err(status) => break status,
        }
    };
    assert_eq!(last.code(), Code::Unavailable);
    assert_eq!(server.ended().await, Served::Drained);
    capture.finish().unwrap();
}

#[tokio::test]
async fn a_polite_stream_ends_itself_at_the_stop() {
    let capture = Capture::start();
    let server = Running::start().await;
    let mut stream = server
        .client()
        .await
        .watch(watch("polite"))
        .await
        .unwrap()
        .into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    server.trigger.fire();
    let last = stream.next().await.unwrap().unwrap_err();
    assert_eq!(last.code(), Code::Unavailable);
    assert_eq!(
        last.get_details_error_info().unwrap().reason,
        "SERVER_STOPPING"
    );
    assert!(last.get_details_retry_info().is_some());
    assert_eq!(server.ended().await, Served::Drained);
    capture.finish().unwrap();
}

#[tokio::test]
async fn calls_in_flight_finish_and_new_connections_are_not_taken() {
    let server = Running::start().await;
    let mut client = server.client().await;
    let mut stream = client.watch(watch("rude")).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    server.trigger.fire();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "still accepting");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.until_open(&[(WATCH, 1)]).await;
    drop((stream, client));
    assert_eq!(
        server.ended().await,
        Served::Drained,
        "the last call is gone before the deadline"
    );
}

#[tokio::test]
async fn a_hanging_stream_and_a_hanging_call_are_cut_and_named_at_the_deadline() {
    let capture = Capture::start().expect("cut calls that did not end before the deadline");
    let server = Running::with(Limits::default(), Duration::from_millis(50)).await;
    let mut client = server.client().await;
    let mut stream = client.watch(watch("rude")).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    let call = tokio::spawn(async move { client.get(get("hang")).await });
    server.until_open(&[(GET, 1), (WATCH, 1)]).await;

    let in_flight = server.in_flight.clone();
    server.trigger.fire();
    let named = |method: &str| OpenCall {
        method: method.to_owned(),
        count: 1,
    };
    assert_eq!(
        server.ended().await,
        Served::Cut(vec![named(GET), named(WATCH)])
    );
    assert!(stream.next().await.unwrap().is_err());
    assert!(call.await.unwrap().is_err());
    // The handlers are gone too, not only their connection.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !in_flight.open().is_empty() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:?}",
            in_flight.open()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    capture.finish().unwrap();
}

#[tokio::test]
async fn a_frozen_client_without_calls_does_not_hold_up_the_stop() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let capture = Capture::start();
    let server = Running::with(Limits::default(), PATIENCE * 100).await;
    // A client that says hello, and then never answers anything.
    let mut frozen = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
    ]
    .concat();
    frozen.write_all(&hello).await.unwrap();
    let mut settings = [0; 9];
    frozen.read_exact(&mut settings).await.unwrap();
    server.trigger.fire();
    assert_eq!(server.ended().await, Served::Drained);
    capture.finish().unwrap();
}
