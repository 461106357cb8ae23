//! What many callers, and greedy ones, may do to each other; and connections that grow old.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use edgeio_proto::api::v1::application_service_client::ApplicationServiceClient;
use edgeio_proto::api::v1::{ApplyRequest, ListRequest};
use edgeio_server::auth::{
    AuthError, Authenticate, Local, Peer, Principal, PrincipalKind, Reach, Role, bearer,
};
use edgeio_server::config::ServeConfig;
use edgeio_server::grpc::Limits;
use futures::StreamExt as _;
use tokio::time::{Instant, timeout};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{PATIENCE, Running, WATCH, get, watch};

/// Everybody is the user whom the token names.
struct Named;

#[async_trait]
impl Authenticate for Named {
    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        _: &Peer,
    ) -> Result<Option<Principal>, AuthError> {
        Ok(bearer(metadata).map(|name| Principal {
            id: name.to_owned(),
            name: name.to_owned(),
            kind: PrincipalKind::User,
            ..Principal::dev(Role::Admin)
        }))
    }
}

fn by<T>(name: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {name}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// How the server asks to come later.
fn asked_to_wait(refused: &Status, reason: &str) -> Duration {
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, reason);
    let pause = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(!pause.is_zero());
    pause
}

async fn apply(client: &mut ApplicationServiceClient<Channel>, name: &str) -> Result<(), Status> {
    let request = by(name, ApplyRequest::default());
    client.apply(request).await.map(|_| ())
}

#[tokio::test]
async fn who_changes_too_much_is_asked_to_wait_and_harms_nobody() {
    let serve = ServeConfig {
        mutate_rate: 5.0,
        mutate_burst: 10,
        ..ServeConfig::default()
    };
    let server = Running::configured(Arc::new(Named), &serve).await;
    let (mut bad, mut good) = (server.client().await, server.client().await);
    let flood = tokio::spawn(async move {
        let (mut passed, mut refused) = (0_u32, 0_u32);
        let begun = Instant::now();
        while refused < 2000 {
            match apply(&mut bad, "flood").await {
                Ok(()) => passed += 1,
                Err(status) => {
                    asked_to_wait(&status, "RATE_LIMITED");
                    refused += 1;
                }
            }
        }
        (passed, begun.elapsed())
    });
    for _ in 0..10 {
        apply(&mut good, "good").await.unwrap();
        good.list(by("good", ListRequest::default())).await.unwrap();
    }
    let (passed, lasted) = flood.await.unwrap();
    let most = 10.0 + 5.0 * lasted.as_secs_f64() + 1.0;
    assert!(
        passed >= 10 && f64::from(passed) <= most,
        "{passed} in {lasted:?}"
    );
    // The pause that is asked for is enough.
    let mut client = server.client().await;
    let pause = loop {
        match apply(&mut client, "patient").await {
            Ok(()) => {}
            Err(status) => break asked_to_wait(&status, "RATE_LIMITED"),
        }
    };
    assert!(pause <= Duration::from_millis(201), "{pause:?}");
    tokio::time::sleep(pause).await;
    apply(&mut client, "patient").await.unwrap();
}

#[tokio::test]
async fn streams_of_one_caller_are_counted_over_all_its_connections() {
    let serve = ServeConfig {
        streams: 3,
        ..ServeConfig::default()
    };
    let server = Running::configured(Arc::new(Named), &serve).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = server.client().await;
        open.push(client.watch(by("ann", watch(""))).await.unwrap());
    }
    let mut client = server.client().await;
    let refused = client.watch(by("ann", watch(""))).await.unwrap_err();
    asked_to_wait(&refused, "RATE_LIMITED");
    let other = client.watch(by("bob", watch(""))).await.unwrap();
    client
        .list(by("ann", ListRequest::default()))
        .await
        .unwrap();
    // One that is left makes room.
    drop(open.pop());
    server.until_open(&[(WATCH, 3)]).await;
    let another = client.watch(by("ann", watch(""))).await.unwrap();
    drop((open, other, another));
    server.until_open(&[]).await;
}

#[tokio::test]
async fn callers_on_this_machine_are_counted_only_if_wished() {
    let auth = || {
        Arc::new(Local {
            role: Role::Admin,
            reach: Reach::Loopback,
        })
    };
    let serve = ServeConfig {
        mutate_burst: 2,
        mutate_rate: 0.1,
        ..ServeConfig::default()
    };
    let server = Running::configured(auth(), &serve).await;
    let mut client = server.client().await;
    for _ in 0..20 {
        client.apply(ApplyRequest::default()).await.unwrap();
    }
    let serve = ServeConfig {
        limit_local: true,
        ..serve
    };
    let server = Running::configured(auth(), &serve).await;
    let mut client = server.client().await;
    for _ in 0..2 {
        client.apply(ApplyRequest::default()).await.unwrap();
    }
    let refused = client.apply(ApplyRequest::default()).await.unwrap_err();
    asked_to_wait(&refused, "RATE_LIMITED");
}

fn young() -> Limits {
    Limits {
        connection_age: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn an_old_connection_is_replaced_and_no_call_is_lost() {
    let server = Running::with(young(), PATIENCE).await;
    let mut client = server.client().await;
    let begun = Instant::now();
    let (mut calls, mut repeated) = (0_u32, 0_u32);
    while begun.elapsed() < Duration::from_secs(3) {
        match client.list(ListRequest::default()).await {
            Ok(_) => calls += 1,
            // Of our own transport: the call had not left yet when it learnt that the connection is old. So it may be repeated,
            // and `edgeio-client` does.
            Err(unsent) if unsent.code() == Code::Cancelled => repeated += 1,
            Err(lost) => panic!("{lost:?}"),
        }
    }
    assert!(calls > 50 && repeated <= 13, "{calls} {repeated}");
    // A call that is open when its connection grows old is answered.
    let mut client = server.client().await;
    let begun = Instant::now();
    let hanging = client.get(get("slow")).await;
    assert_eq!(hanging.unwrap_err().code(), Code::NotFound);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_watch_can_go_on_over_connections_that_grow_old() {
    let server = Running::with(young(), PATIENCE).await;
    // Always by the same channel, which dials anew by itself.
    let mut client = server.client().await;
    for _ in 0..4 {
        let mut stream = client.watch(watch("")).await.unwrap().into_inner();
        assert!(stream.next().await.unwrap().is_ok());
        let ended = timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
        let ended = ended.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
        let details = ended.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "CONNECTION_OLD");
    }
}
