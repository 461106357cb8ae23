//! Scale: as many as asked for run, and the service is never guessed.

use edgeio_proto::api::v1;
use edgeio_server::status::Classify;

use crate::support::{Bed, manifest, phase, service, web};

fn to(replicas: u32) -> v1::ScaleRequest {
    v1::ScaleRequest {
        name: "web".into(),
        replicas,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_scaled_application_runs_as_many() {
    let bed = Bed::cluster();
    bed.child("a1", 9).await;
    bed.applied(web(1)).await;
    bed.settle().await;
    let more = bed.scale(to(3)).await.unwrap().application.unwrap();
    assert_eq!(more.version, 2);
    assert_eq!(
        phase(&more.status.unwrap()),
        v1::ApplicationPhase::Progressing
    );
    bed.settle().await;
    let status = bed.status("web").await;
    assert_eq!(
        (phase(&status), status.services[0].running),
        (v1::ApplicationPhase::Ready, 3)
    );

    let revision = bed.revision().await;
    assert_eq!(
        bed.scale(to(3)).await.unwrap().application.unwrap().version,
        2
    );
    assert_eq!(
        bed.revision().await,
        revision,
        "the same number is no change"
    );

    bed.scale(to(0)).await.unwrap();
    bed.plan().await;
    let status = bed.status("web").await;
    assert_eq!(
        status.services[0].progressing, 3,
        "they are on their way out: {status:?}"
    );
    assert!(
        bed.instances()
            .await
            .iter()
            .all(|instance| instance.retiring)
    );
    bed.settle().await;
    assert!(bed.instances().await.is_empty());
}

#[tokio::test]
async fn the_service_may_be_left_out_only_where_it_is_clear() {
    let bed = Bed::root();
    let services = vec![service("front", None), service("back", None)];
    bed.applied(manifest("web", services)).await;
    let error = bed.scale(to(2)).await.unwrap_err();
    assert_eq!(error.fields()[0].path, "service");
    assert!(error.fields()[0].message.contains("front, back"), "{error}");
    let named = |name: &str| v1::ScaleRequest {
        service: name.into(),
        ..to(2)
    };
    let scaled = bed.scale(named("back")).await.unwrap().application.unwrap();
    assert_eq!(scaled.spec.unwrap().services[1].replicas, Some(2));
    assert_eq!(
        bed.scale(named("side")).await.unwrap_err().reason(),
        "SERVICE_NOT_FOUND"
    );
    let error = bed.scale(to(10_001)).await.unwrap_err();
    assert_eq!(error.fields()[0].path, "replicas");
}
