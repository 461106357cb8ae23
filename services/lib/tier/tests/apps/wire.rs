//! The service over a real connection: answers, errors with their details, and a watch that ends itself.

use std::{sync::Arc, time::Duration};

use edgeio_proto::api::v1::{self, application_service_client::ApplicationServiceClient};
use edgeio_server::{
    auth::{Local, Reach, Role},
    grpc::{Api, Listener, Served},
    shutdown::{Shutdown, Trigger},
};
use edgeio_tier::api::application_service;
use tokio::task::JoinHandle;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::support::{Bed, web};

/// Bounds what a defect could hang.
const PATIENCE: Duration = Duration::from_secs(20);

async fn serve(
    bed: &Bed,
    role: Role,
) -> (
    ApplicationServiceClient<Channel>,
    Trigger,
    JoinHandle<Served>,
) {
    let (trigger, stop) = Shutdown::new();
    let auth = Arc::new(Local {
        role,
        reach: Reach::Loopback,
    });
    let api = Api::new(auth).service(application_service(bed.apps.clone(), stop.clone()));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.address();
    let server = tokio::spawn(async move { api.serve(listener, stop, PATIENCE).await.unwrap() });
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    (ApplicationServiceClient::new(channel), trigger, server)
}

#[tokio::test]
async fn every_call_answers_and_a_watch_ends_itself_at_the_stop() {
    let bed = Bed::cluster();
    bed.child("a1", 9).await;
    let (mut client, trigger, server) = serve(&bed, Role::Deployer).await;
    let made = client
        .apply(web(2))
        .await
        .unwrap()
        .into_inner()
        .application
        .unwrap();
    assert_eq!((made.owner.as_str(), made.version), ("cluster north", 1));
    bed.settle().await;

    let get = v1::GetRequest {
        name: "web".into(),
        ..Default::default()
    };
    let got = client
        .get(get)
        .await
        .unwrap()
        .into_inner()
        .application
        .unwrap();
    assert_eq!(got.status.unwrap().phase(), v1::ApplicationPhase::Ready);
    let listed = client
        .list(v1::ListRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.applications.len(), 1);
    let instances = v1::ListInstancesRequest::default();
    let instances = client
        .list_instances(instances)
        .await
        .unwrap()
        .into_inner()
        .instances;
    assert_eq!(instances.len(), 2);

    let mut changes = client
        .watch(v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut seen = 0;
    while let Some(change) = changes.message().await.unwrap() {
        seen += 1;
        if matches!(change.change, Some(v1::watch_response::Change::Bookmark(_))) {
            break;
        }
    }
    assert_eq!(seen, 4);
    let scale = v1::ScaleRequest {
        name: "web".into(),
        replicas: 3,
        ..Default::default()
    };
    client.scale(scale).await.unwrap();
    let change = changes.message().await.unwrap().unwrap().change.unwrap();
    assert!(matches!(change, v1::watch_response::Change::Application(app) if app.version == 2));
    let delete = v1::DeleteRequest {
        name: "web".into(),
        ..Default::default()
    };
    let gone = client
        .delete(delete)
        .await
        .unwrap()
        .into_inner()
        .application
        .unwrap();
    assert_eq!(gone.status.unwrap().waiting_for, ["a1"]);

    trigger.fire();
    let end = loop {
        match changes.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable);
    assert!(end.get_details_retry_info().is_some());
    drop((client, changes));
    let served = tokio::time::timeout(PATIENCE, server)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(served, Served::Drained);
}

#[tokio::test]
async fn errors_carry_reasons_fields_and_values() {
    let bed = Bed::root();
    let (mut client, _trigger, _server) = serve(&bed, Role::Deployer).await;

    let mut wrong = web(1);
    wrong.application.as_mut().unwrap().services[0].pull = "maybe".into();
    wrong.application.as_mut().unwrap().name = "No".into();
    let status = client.apply(wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("INVALID_FIELDS", "edgeio")
    );
    let fields = &details.bad_request().unwrap().field_violations;
    let paths: Vec<&str> = fields.iter().map(|field| field.field.as_str()).collect();
    assert_eq!(paths, ["application.name", "application.services[0].pull"]);
    assert!(fields[1].description.contains("if-absent"));

    client.apply(web(1)).await.unwrap();
    let stale = v1::ApplyRequest {
        expected_version: 7,
        ..web(2)
    };
    let status = client.apply(stale).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (
            info.reason.as_str(),
            info.metadata["current_version"].as_str()
        ),
        ("VERSION_MISMATCH", "1")
    );

    let watch = v1::WatchRequest {
        token: "x".into(),
        ..Default::default()
    };
    assert_eq!(
        client.watch(watch).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let get = v1::GetRequest {
        name: "none".into(),
        ..Default::default()
    };
    assert_eq!(client.get(get).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_hundred_faults_come_through_a_real_connection() {
    let bed = Bed::root();
    let (mut client, _trigger, _server) = serve(&bed, Role::Deployer).await;
    let mut wrong = web(1);
    let service = wrong.application.as_mut().unwrap().services.remove(0);
    let bad = |n: usize| v1::ServiceSpec {
        name: format!("{}_{n}", "X".repeat(60)),
        pull: "x".repeat(500),
        ..service.clone()
    };
    wrong.application.as_mut().unwrap().services = (0..100).map(bad).collect();
    let status = client.apply(wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_error_details();
    let fields = &details.bad_request().unwrap().field_violations;
    assert!(fields.last().unwrap().description.contains("more fields"));
}

#[tokio::test]
async fn a_viewer_may_look_and_not_touch() {
    let bed = Bed::root();
    let (mut client, _trigger, _server) = serve(&bed, Role::Viewer).await;
    let status = client.apply(web(1)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "ROLE_TOO_LOW"
    );
    assert!(client.list(v1::ListRequest::default()).await.is_ok());
}
