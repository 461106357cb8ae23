//! Reflection, limits, identity, panics.

use std::time::Duration;

use edgeio_proto::api::v1::{ApplicationSpec, ApplyRequest, ListRequest};
use edgeio_server::grpc::{Limits, Listener};
use edgeio_server::telemetry::Capture;
use futures::StreamExt as _;
use tokio::task::JoinHandle;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::support::{GET, PATIENCE, Running, get, watch};

macro_rules! reflects {
    ($name:ident, $version:ident) => {
        #[tokio::test]
        async fn $name() {
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            let server = Running::start().await;
            let mut client = ServerReflectionClient::new(server.channel().await);
            let symbols = [
                "edgeio.api.v1.ApplicationService",
                "edgeio.link.v1.Snapshot",
                "grpc.health.v1.Health",
                "google.rpc.ErrorInfo",
            ];
            let ask = |message_request| ServerReflectionRequest {
                host: String::new(),
                message_request: Some(message_request),
            };
            let mut asked = vec![ask(MessageRequest::ListServices(String::new()))];
            asked.extend(
                symbols.map(|symbol| ask(MessageRequest::FileContainingSymbol(symbol.to_owned()))),
            );
            let answers: Vec<_> = client
                .server_reflection_info(futures::stream::iter(asked))
                .await
                .unwrap()
                .into_inner()
                .map(|answer| answer.unwrap().message_response.unwrap())
                .collect()
                .await;
            let MessageResponse::ListServicesResponse(list) = &answers[0] else {
                panic!("no list: {answers:?}")
            };
            let names: Vec<_> = list
                .service
                .iter()
                .map(|service| service.name.as_str())
                .collect();
            let served = [
                "edgeio.api.v1.ApplicationService",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ];
            assert_eq!(
                names, served,
                "what is served, and no service of another tier"
            );
            for answer in &answers[1..] {
                assert!(
                    matches!(answer, MessageResponse::FileDescriptorResponse(_)),
                    "{answer:?}"
                );
            }
        }
    };
}
reflects!(reflection_v1_knows_our_services_and_health, v1);
reflects!(reflection_v1alpha_knows_our_services_and_health, v1alpha);

#[tokio::test]
async fn handlers_see_the_principal_and_callers_their_request_id() {
    let server = Running::start().await;
    let mut client = server.client().await;
    let mut call = Request::new(ApplyRequest::default());
    call.metadata_mut()
        .insert("x-request-id", "trace-7".parse().unwrap());
    let answer = client.apply(call).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "trace-7");
    let application = answer.into_inner().application.unwrap();
    assert_eq!(
        (application.owner.as_str(), application.uid.as_str()),
        ("dev deployer", "trace-7")
    );

    // What does not look like an id is not repeated into logs: the server makes its own.
    for odd in ["has a space", &"x".repeat(65), ""] {
        let mut call = Request::new(ApplyRequest::default());
        call.metadata_mut()
            .insert("x-request-id", odd.parse().unwrap());
        let uid = client
            .apply(call)
            .await
            .unwrap()
            .into_inner()
            .application
            .unwrap()
            .uid;
        assert!(
            uuid::Uuid::parse_str(&uid).is_ok(),
            "`{odd}` became `{uid}`"
        );
    }
}

#[tokio::test]
async fn a_credential_that_nobody_checks_is_refused() {
    let server = Running::start().await;
    let mut call = Request::new(ListRequest::default());
    call.metadata_mut()
        .insert("authorization", "Bearer x".parse().unwrap());
    let refused = server.client().await.list(call).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(
        refused.get_details_error_info().unwrap().reason,
        "CREDENTIAL_NOT_TAKEN"
    );
    assert!(refused.metadata().contains_key("x-request-id"));
}

#[tokio::test]
async fn errors_carry_their_details() {
    let server = Running::start().await;
    let missing = server.client().await.get(get("shop")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(missing.message(), "find the application `shop`");
    assert_eq!(
        missing.get_details_error_info().unwrap().reason,
        "APPLICATION_NOT_FOUND"
    );
}

#[tokio::test]
async fn a_panic_ends_its_call_only() {
    let capture = Capture::start().expect("request failed inside");
    let server = Running::start().await;
    let mut client = server.client().await;

    let failed = client.get(get("panic")).await.unwrap_err();
    assert_eq!(failed.code(), Code::Internal);
    assert!(!failed.message().contains("told to"), "{failed:?}");

    let mut stream = client.watch(watch("panic")).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(
        stream.next().await.unwrap().unwrap_err().code(),
        Code::Internal
    );

    assert!(
        client.list(ListRequest::default()).await.is_ok(),
        "the connection lives on"
    );
    let texts: Vec<_> = capture.seen().into_iter().map(|seen| seen.fields).collect();
    assert_eq!(texts.len(), 2, "each panic once: {texts:?}");
    assert!(texts[0].contains("the actor was told to") && texts[1].contains("told to, later"));
    capture.finish().unwrap();
}

#[tokio::test]
async fn large_messages_are_refused_both_ways() {
    let server = Running::start().await;
    let mut client = server
        .client()
        .await
        .max_decoding_message_size(64 * 1024 * 1024);
    let application = ApplicationSpec {
        name: "x".repeat(1024 * 1024),
        ..ApplicationSpec::default()
    };
    let request = ApplyRequest {
        application: Some(application),
        ..ApplyRequest::default()
    };
    assert_eq!(
        client.apply(request).await.unwrap_err().code(),
        Code::OutOfRange
    );
    assert_eq!(
        client.get(get("large")).await.unwrap_err().code(),
        Code::OutOfRange
    );
    assert!(
        client.list(ListRequest::default()).await.is_ok(),
        "the connection lives on"
    );
}

#[tokio::test]
async fn large_metadata_is_refused() {
    let server = Running::start().await;
    let mut client = server.client().await;
    for (bytes, fits) in [(8 * 1024, true), (17 * 1024, false), (8 * 1024, true)] {
        let mut call = Request::new(ListRequest::default());
        call.metadata_mut()
            .insert("x-padding", "x".repeat(bytes).parse().unwrap());
        let answer = client.list(call).await;
        assert_eq!(answer.is_ok(), fits, "{bytes} bytes: {answer:?}");
    }
}

#[tokio::test]
async fn a_handler_that_does_not_answer_is_ended() {
    let limits = Limits {
        answer_within: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Running::with(limits, PATIENCE).await;
    let mut client = server.client().await;
    let ended = tokio::time::timeout(PATIENCE, client.get(get("hang")))
        .await
        .unwrap();
    let code = ended.unwrap_err().code();
    assert!(
        matches!(code, Code::DeadlineExceeded | Code::Cancelled),
        "{code:?}"
    );
    server.until_open(&[]).await;

    // A stream has answered once it has begun; it may last.
    let mut stream = client.watch(watch("rude")).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    assert!(
        tokio::time::timeout(Duration::from_millis(200), stream.next())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn calls_past_the_limit_are_refused_at_once() {
    let limits = Limits {
        unanswered: 2,
        ..Limits::default()
    };
    let server = Running::with(limits, PATIENCE).await;
    let client = server.client().await;
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.get(get("hang")).await })
        })
        .collect();
    server.until_open(&[(GET, 2)]).await;
    let refused = client
        .clone()
        .list(ListRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    // Calls that their callers leave free their places.
    hanging.iter().for_each(JoinHandle::abort);
    server.until_open(&[]).await;
    assert!(client.clone().list(ListRequest::default()).await.is_ok());
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let first = Listener::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let error = Listener::bind(first.address()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("listen on `{}`", first.address())
    );
}
